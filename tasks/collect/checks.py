"""The result of a declared check, from its tool's output: open, refused, filtered, or not tried at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from labrun.bounded import integer, read_json
from labrun.errors import UnreadableError
from labrun.inventory.check_model import Match
from labrun.inventory.json_path import as_text, look_up
from labrun.inventory.kernel_spelling import as_kernel_writes
from labrun.inventory.kernel_values import path_of
from labrun.inventory.topology.checks import meets
from labrun.searching import SearchError, matches
from labrun.tasks.collect.check_script import NO_TOOL, NO_WAY, SMALL_LOST
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.facts.sshd import effective_settings, plain_value
from labrun.tasks.guest.facts.sshd import meets as sshd_meets
from labrun.tasks.guest.shell import Captured, Facts

__all__ = ["CheckResult", "Seen", "is_met", "read_check"]

Seen = Literal["open", "refused", "filtered", "silent", "wrong", "error"]

_FRAGMENT = re.compile(r"mtu ?= ?([0-9]{1,5})\b")
_UNREACHABLE = re.compile(r"^From (\S{1,60}?):? icmp_seq=\d{1,9} (.{1,200})", re.MULTILINE)
_CUT = re.compile(r"cut at ([0-9]{1,12}) bytes")
_LONGEST, _LONGEST_REASON, _MOST_ANSWERS = 60, 400, 32
_MOST_CHARACTERS = 256 * 1024
"""The greatest limit in the script for a page or a command: a guest may print anything."""
_MOST_DIGITS = 2 * 65535
"""The limit of a DNS answer in hexadecimal."""
_SEARCH_SECONDS = 2.0
_NAMES = {0: "answers", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one try.

    ``seen`` is ``silent`` for unanswered UDP, ``wrong`` for an answer that differs from the declared
    one, ``error`` if the source could not try; ``actual`` is for the table.
    """

    seen: Seen
    actual: str
    why: str | None = None


def is_met(spec: CheckSpec, tried: CheckResult) -> bool:
    """Tell whether trying again would gain nothing."""
    return meets(spec.expect, tried.seen) or (tried.seen == "silent" and spec.expect != "refused")


def read_check(spec: CheckSpec, captured: Captured | None, facts: Facts) -> CheckResult:
    """Return the result in the output of a check (other than ``trace``)."""
    if spec.kind == "sshd" and "sshd" in facts.commands:
        captured = facts.commands["sshd"]  # effective for this very login, Match blocks included
    if captured is None:
        return CheckResult("error", "not tried", "the check was not run")
    if captured.status == NO_WAY and spec.kind != "exec":
        return CheckResult("error", "no route", f"no route to {spec.address}")
    if captured.status == NO_TOOL and spec.kind != "exec":
        return CheckResult("error", "not tried", f"{captured.text.strip()[:_LONGEST]} is not installed")
    try:
        return _READERS[spec.kind](spec, captured)
    except SearchError as error:
        return CheckResult("error", "not judged", error.reason)


def _tcp(_spec: CheckSpec, captured: Captured) -> CheckResult:
    if captured.status == 0:
        return CheckResult("open", "open")
    if "refused" in captured.both:
        return CheckResult("refused", "refused")
    prohibited = "No route to host" in captured.both or "unreachable" in captured.both
    return CheckResult("filtered", "filtered", "an ICMP error came back" if prohibited else None)


def _udp(_spec: CheckSpec, captured: Captured) -> CheckResult:
    if captured.status != 0:
        return CheckResult("refused", "refused")
    if (captured.text[-_LONGEST:].split() or ["0"])[-1] == "0":
        return CheckResult("silent", "no answer")
    return CheckResult("open", "open")


def _ping(_spec: CheckSpec, captured: Captured) -> CheckResult:
    if captured.status == 0:
        return CheckResult("open", "open")
    answer = _UNREACHABLE.search(captured.both)
    return CheckResult("filtered", "filtered", f"{answer[1]} says: {answer[2]}" if answer else None)


def _mtu(spec: CheckSpec, captured: Captured) -> CheckResult:
    if captured.status == 0:
        return CheckResult("open", spec.target)
    if captured.status == SMALL_LOST:
        return CheckResult("filtered", "filtered", "not even small packets are answered")
    sizes = [int(size) for size in _FRAGMENT.findall(captured.both)]
    if sizes:
        return CheckResult("filtered", str(min(sizes)), f"the path takes packets of {min(sizes)} bytes")
    why = f"packets of {spec.target} bytes are lost silently, small ones get through: an MTU black hole"
    return CheckResult("filtered", "filtered", why)


def _http(spec: CheckSpec, captured: Captured) -> CheckResult:
    first, _, rest = captured.text.partition("\n")
    error, _, body = rest.partition("\n")
    error = error[:_LONGEST_REASON]
    code, _, connected = first.partition(" ")
    if captured.status == 0:
        return _page(spec, integer(code) or 0, body, captured)
    if captured.status == 6:
        return CheckResult("error", "no name", error.partition(") ")[2] or "the name is not known")
    if captured.status in (7, 28) and not connected.strip("0."):
        if "refused" in error:
            return CheckResult("refused", "refused")
        if "Network is unreachable" in error and spec.address is None:
            return CheckResult("error", "no route", "no route to it")
        return CheckResult("filtered", "filtered")
    return CheckResult(
        "wrong", "no HTTP answer", error.partition(") ")[2] or f"curl ended with {captured.status}"
    )


def _page(spec: CheckSpec, code: int, body: str, captured: Captured) -> CheckResult:
    want = spec.status
    if code != want if want is not None else not 200 <= code < 400:
        return CheckResult(
            "open" if spec.expect != "open" else "wrong", str(code), f"the answer's status is {code}"
        )
    text, fault = _matched(spec.match, body, captured)
    if fault is not None:
        return CheckResult("wrong", _short(text), fault)
    if spec.match is not None:
        return CheckResult("open", _short(text))
    return CheckResult("open", "open" if want is None else str(code))


def _exec(spec: CheckSpec, captured: Captured) -> CheckResult:
    error, _, out = captured.text.partition("\n")
    error = error[:_LONGEST_REASON]
    if captured.status in (126, 127):
        return CheckResult("error", f"exit {captured.status}", error.strip() or "the command cannot be run")
    negative: Seen = "filtered" if spec.expect == "blocked" else "wrong"
    if captured.status != (spec.status or 0):
        why = "it did not finish in time" if captured.status == 124 else error.strip()
        silent = f"it ended with status {captured.status} and printed no error"
        return CheckResult(negative, f"exit {captured.status}", why or silent)
    text, fault = _matched(spec.match, out, captured)
    if fault is not None:
        return CheckResult(negative, _short(text), fault)
    return CheckResult("open", _short(text) if spec.match is not None else f"exit {captured.status}")


def _matched(match: Match | None, text: str, captured: Captured) -> tuple[str, str | None]:
    """Return the text that counts, and what it lacks: None if it is as declared.

    Of a text that the host has cut, only what has to be somewhere in it may be found.
    """
    cut = _CUT.search(captured.error)
    if cut is not None and match is not None:
        whole = match.equals is not None or match.json is not None
        if whole or _mismatch(match, text) is not None:
            size = f"{int(cut[1]) // 1024} KiB"
            return text, f"there is more than {size}{'' if whole else ', and it is not in the first of them'}"
    if len(text) > _MOST_CHARACTERS:
        return "", f"there are {len(text)} characters, more than {_MOST_CHARACTERS}"
    if match is not None and match.json is not None:
        try:
            text = as_text(look_up(read_json(text, "the answer"), match.json))
        except UnreadableError as error:
            return text, f"this is {error.reason}"
        except LookupError as error:
            return text, f"{match.json}: {error.args[0]}"
    return text, None if match is None else _mismatch(match, text)


def _mismatch(match: Match, text: str) -> str | None:
    if match.equals is not None and text.strip() != match.equals.strip():
        return f"it is {_short(text)}"
    if match.contains is not None and match.contains not in text:
        return f"{match.contains} is not in it"
    if match.regex is not None and not matches(match.regex, text, pace().remaining(_SEARCH_SECONDS)):
        return f"nothing in it matches {match.regex}"
    return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return (line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…") or "nothing"


def _dns(spec: CheckSpec, captured: Captured) -> CheckResult:
    if spec.address is None:
        names = (line.strip() for line in captured.text[:_MOST_CHARACTERS].splitlines())
        records = list(dict.fromkeys(name.split(maxsplit=1)[0][:_LONGEST] for name in names if name))
        if captured.status != 0 or not records:
            return CheckResult("wrong", "no such name", "the host's resolver does not know it")
        return _answers(spec, records)
    if captured.status != 0:
        return CheckResult("refused", "refused", "nothing answers DNS there")
    lines = captured.text.splitlines()
    packet = _packet(lines)
    if len(packet) < 12:
        return CheckResult("filtered", "filtered")
    code = packet[3] & 15
    if code != 0:
        name = _NAMES.get(code, f"code {code}")
        return CheckResult("refused", name, f"the server answers {name}")
    records = _records(packet)
    none = CheckResult("refused", "no address", "the server answers without an address")
    return _answers(spec, records) if records else none


def _answers(spec: CheckSpec, found: Sequence[str]) -> CheckResult:
    actual = " ".join(found[:_MOST_ANSWERS])
    if spec.answer is None:
        return CheckResult("open", "open")
    answer = str(spec.answer)
    return CheckResult("open", answer) if answer in found else CheckResult("wrong", actual)


def _packet(lines: Sequence[str]) -> bytes:
    """Return the bytes that od printed, empty for an incomplete dump."""
    digits = "".join(line for line in lines if re.fullmatch("[0-9a-f ]+", line)).replace(" ", "")
    return b"" if len(digits) % 2 or len(digits) > _MOST_DIGITS else bytes.fromhex(digits)


def _records(packet: bytes) -> list[str]:
    """Return the addresses in a DNS answer, up to the first truncated or damaged record."""
    addresses = []
    try:
        offset = 12
        for _ in range(int.from_bytes(packet[4:6])):
            offset = _after_name(packet, offset) + 4
        for _ in range(int.from_bytes(packet[6:8])):
            offset = _after_name(packet, offset)
            kind, length = (
                int.from_bytes(packet[offset : offset + 2]),
                int.from_bytes(packet[offset + 8 : offset + 10]),
            )
            data = packet[offset + 10 : offset + 10 + length]
            if (kind, length) in ((1, 4), (28, 16)):
                addresses.append(str(ip_address(data)))
            offset += 10 + length
    except (IndexError, ValueError):
        pass
    return addresses


def _after_name(packet: bytes, at: int) -> int:
    while packet[at] != 0:
        if packet[at] >= 0xC0:
            return at + 2
        at += 1 + packet[at]
    return at + 1


def _sysctl(spec: CheckSpec, captured: Captured) -> CheckResult:
    lines = (line.partition(" ") for line in captured.text.splitlines())
    have = {key: value[:_LONGEST_REASON] for key, _, value in lines}
    want = {key: as_kernel_writes(path_of(key) or key, value) for key, value in spec.values.items()}
    pairs = [(key, text, have.get(key)) for key, text in want.items()]
    wrong = [f"{k} is {v or 'unknown'}" for k, want, v in pairs if v is None or v.split() != want.split()]
    return _values(spec, [" ".join((value or "absent").split()) for _, _, value in pairs], wrong)


def _sshd(spec: CheckSpec, captured: Captured) -> CheckResult:
    if captured.status != 0:
        return CheckResult("error", "not tried", captured.last_line)
    have = effective_settings(captured.text)
    actual, wrong = [], []
    for key, want in spec.values.items():
        actual.append(" ".join(have.get(key, ()))[:_LONGEST_REASON] or "absent")
        if not sshd_meets(key, [plain_value(key, want)], have):
            wrong.append(f"{key} is {actual[-1]}")
    return _values(spec, actual, wrong)


def _values(spec: CheckSpec, actual: list[str], wrong: list[str]) -> CheckResult:
    text = actual[0] if len(actual) == 1 else ", ".join(map(" ".join, zip(spec.values, actual, strict=True)))
    return CheckResult("wrong" if wrong else "open", text, ", ".join(wrong) or None)


_READERS = {
    "tcp": _tcp,
    "udp": _udp,
    "ping": _ping,
    "mtu": _mtu,
    "http": _http,
    "dns": _dns,
    "exec": _exec,
    "sysctl": _sysctl,
    "sshd": _sshd,
}
