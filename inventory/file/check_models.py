"""The lab file's checks: ten kinds, and the keys that each of them accepts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from labrun.inventory.duration import duration_seconds
from labrun.inventory.file.field_types import (
    Address,
    AddressText,
    Duration,
    Line,
    Port,
    SshdKeyword,
    SshdValue,
    SysctlKey,
    SysctlValue,
    Text,
)
from labrun.inventory.file.name_types import (
    DomainName,
)
from labrun.inventory.file.problems import quoted, shown
from labrun.inventory.file.pydantic_types import Matching, Section, Shorthand, listed, wrong
from labrun.inventory.json_path import parse_path

__all__ = ["CHECK_KINDS", "LONGEST_WAIT", "CheckModel", "MatchModel"]

CHECK_KINDS: Final = ("ping", "trace", "tcp", "udp", "http", "dns", "exec", "sysctl", "sshd", "mtu")
LONGEST_WAIT: Final = 600
_NEEDS_TO: Final = ("ping", "trace", "tcp", "udp", "mtu")
_KEYS_OF_KINDS: Final = {
    "via": ("trace",),
    "status": ("http", "exec"),
    "body": ("http",),
    "stdout": ("exec",),
    "answer": ("dns",),
}


def _http(value: Any) -> Any:
    if value is False:
        raise wrong("expected true, a port, a path or a URL, got false")
    return "/" if value is True else f":{value}/" if isinstance(value, int) else value


def _http_target(value: str) -> str:
    if not re.fullmatch(r"(https?://[^\s/]+|:[0-9]{1,5})?(/[^\s]*)?", value) or not value:
        raise wrong(
            f"{quoted(value)} is not a valid path or URL", "true, 8080, /index.html, :8080/x or http://HOST/x"
        )
    return value if "/" in value.partition("//")[2] or value.startswith(("/", ":")) else f"{value}/"


def _json_path(value: str) -> str:
    try:
        parse_path(value)
    except ValueError as error:
        raise wrong(
            f"{quoted(value)} is not a valid path into JSON: {error}", "such as routes[0].gateway"
        ) from None
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise wrong(f"{quoted(value)} is not a valid regular expression: {error}") from None
    return value


def _only_true(value: Any) -> Any:
    if value is not True:
        raise wrong(f"expected true, got {shown(value)}")
    return value


def _match(value: Any) -> Any:
    return value if isinstance(value, dict) else {"contains": value}


_EndText = Annotated[
    Text, Matching(r"(@|::)?[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252}", "host, network, @group or address")
]
_HttpTarget = Annotated[
    str,
    BeforeValidator(_http),
    AfterValidator(_http_target),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}),
]
_JsonPath = Annotated[Text, AfterValidator(_json_path)]
_Regex = Annotated[Text, AfterValidator(_regex)]


class MatchModel(Section):
    """What the output of ``exec`` or the body of ``http`` must be like."""

    contains: Text | None = None
    regex: _Regex | None = None
    equals: Text | None = None
    json_path: _JsonPath | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _asks_for_something(self) -> MatchModel:
        if all(part is None for part in (self.contains, self.regex, self.equals, self.json_path)):
            raise wrong("this has no condition", "contains, regex, equals or json")
        return self


_True = Annotated[Literal[True], BeforeValidator(_only_true)]
_MatchOrText = Annotated[MatchModel, Shorthand(_match, ({"type": "string", "description": "contained"},))]


class CheckModel(Section):
    """One declared check."""

    name: Line
    source: _EndText = Field(alias="from")
    to: _EndText | None = None
    ping: _True | None = None
    trace: _True | None = None
    tcp: Port | None = None
    udp: Port | None = None
    http: _HttpTarget | None = None
    dns: DomainName | None = None
    exec: Line | None = None
    sysctl: dict[SysctlKey, SysctlValue] | None = None
    sshd: dict[SshdKeyword, SshdValue] | None = None
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = None
    via: (
        Annotated[list[AddressText], Shorthand(listed, ({"type": "string", "description": "a host"},))] | None
    ) = None
    status: Annotated[int, Field(ge=0, le=599)] | None = None
    body: _MatchOrText | None = None
    stdout: _MatchOrText | None = None
    answer: Address | None = None
    expect: Literal["open", "blocked", "refused", "filtered"] = "open"
    wait: Duration | None = None
    level: Literal["error", "warning"] = "error"

    @model_validator(mode="after")
    def _one_kind(self) -> CheckModel:
        kinds = [kind for kind in CHECK_KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise wrong(f"a check has exactly one of {', '.join(CHECK_KINDS)}")
        kind = kinds[0]
        called = f"{'an' if kind in ('http', 'exec', 'mtu', 'sshd') else 'a'} {kind} check"
        if kind in _NEEDS_TO and self.to is None:
            raise wrong(f"{called} needs to:")
        if kind in ("sysctl", "sshd", "exec") and self.to is not None:
            raise wrong(f"{called} has no to:", "it runs on the host that from: names")
        for key, those in _KEYS_OF_KINDS.items():
            if getattr(self, key) is not None and kind not in those:
                raise wrong(f"{called} takes no {key}", f"only for {' and '.join(those)}")
        if kind == "http" and "//" not in str(self.http) and self.to is None:
            raise wrong("an http check needs to: or a whole URL")
        if self.expect != "open":
            self._can_be_negative(kind, called)
        if self.wait is not None and duration_seconds(self.wait) > LONGEST_WAIT:
            raise wrong(f"{self.wait} is too long to wait", f"at most {LONGEST_WAIT // 60}m")
        return self

    def _can_be_negative(self, kind: str, called: str) -> None:
        if kind in ("sysctl", "sshd") or (kind == "exec" and self.expect != "blocked"):
            raise wrong(f"{called} cannot expect {self.expect}")
        if kind == "dns" and self.to is None:
            raise wrong("a dns check that expects no answer needs to:", "the server that is asked")
        if any(part is not None for part in (self.via, self.body, self.answer)) or (
            kind == "http" and self.status is not None
        ):
            raise wrong(f"a check that expects {self.expect} has no via, status, body or answer")
