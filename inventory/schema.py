"""The lab file's shape as typed models: every key that may be written, and nothing else.

A model holds what one place of the file says, None where it says nothing; merging, defaults and
everything that needs a second place (references, subnets, addresses) come later.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from labrun.inventory.duration import duration_seconds
from labrun.inventory.fields import (
    Address,
    AddressText,
    AddressTextOrPrefix,
    Cidr4,
    Cidr6,
    DeviceName,
    DomainName,
    Duration,
    EndText,
    FilePath,
    GroupName,
    HostName,
    HttpTarget,
    ImageName,
    IPv4,
    JsonPath,
    LabName,
    Line,
    Mac,
    NetworkName,
    NicAddress4,
    NicAddress6,
    NmcliProperty,
    NmcliValue,
    PackageName,
    Port,
    PortRange,
    Prefix,
    PublicKey,
    Regex,
    SshdKeyword,
    SshdValue,
    SysctlKey,
    SysctlValue,
    Text,
    UnitName,
    Uri,
    UserName,
    Word,
)
from labrun.inventory.forms import Matching, Section, Shorthand, either, is_switch, listed, wrong
from labrun.inventory.problems import shown

__all__ = [
    "CHECK_KINDS",
    "FILE_ORIGINS",
    "LONGEST_WAIT",
    "SSHD_PROFILES",
    "CheckModel",
    "DhcpModel",
    "FileModel",
    "FirewallModel",
    "GroupModel",
    "HostModel",
    "ImageModel",
    "LabFile",
    "MatchModel",
    "NatModel",
    "NetworkModel",
    "NicModel",
    "RouteModel",
    "Settings",
]

CHECK_KINDS: Final = ("ping", "trace", "tcp", "udp", "http", "dns", "exec", "sysctl", "sshd", "mtu")
FILE_ORIGINS: Final = ("content", "src", "template")
LONGEST_WAIT: Final = 600
SSHD_PROFILES: Final[tuple[Literal["host", "router", "bastion"], ...]] = ("host", "router", "bastion")
_NEEDS_TO: Final = ("ping", "trace", "tcp", "udp", "mtu")
_KEYS_OF_KINDS: Final = {
    "via": ("trace",),
    "status": ("http", "exec"),
    "body": ("http",),
    "stdout": ("exec",),
    "answer": ("dns",),
}


def _nic(value: Any) -> Any:
    if not isinstance(value, (str, dict)):
        raise wrong(f"an address, dhcp or a mapping is wanted, not {shown(value)}")
    if isinstance(value, str):
        return {"ipv6" if ":" in value else "ipv4": value}
    return value


def _sshd(value: Any) -> Any:
    if value is not False and not isinstance(value, dict):
        raise wrong(f"a mapping or false is wanted, not {shown(value)}")
    return value


def _with_profile(value: dict[str, list[str]]) -> dict[str, list[str]]:
    """Hold the one key to its words that is labrun's own and no keyword of sshd's."""
    found = value.get("profile")
    if found is not None and (len(found) != 1 or found[0] not in SSHD_PROFILES):
        raise wrong(f"profile is one of {', '.join(SSHD_PROFILES)}")
    return value


def _disk(value: Any) -> Any:
    return {"size": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _only_true(value: Any) -> Any:
    if value is not True:
        raise wrong(f"true is wanted, not {shown(value)}")
    return value


def _match(value: Any) -> Any:
    return value if isinstance(value, dict) else {"contains": value}


def _with_candidate(value: str) -> str:
    if "%s" not in value:
        raise wrong("this command does not say where the file is", "%s stands for it: visudo -cf %s")
    return value


def _service(value: Any) -> Any:
    """Take one of systemd's words for the mapping that it means."""
    words = {
        "enabled": {"enabled": True},
        "disabled": {"enabled": False},
        "running": {"running": True},
        "stopped": {"running": False},
    }
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or value not in words:
        raise wrong(f"{', '.join(words)} or a mapping is wanted, not {shown(value)}")
    return words[value]


def _once(value: Any) -> Any:
    if isinstance(value, dict):
        seen: dict[str, str] = {}
        for key in value:
            if first := seen.get(key.lower()):
                raise wrong(f"{key} and {first} are one keyword", "a list gives it several values")
            seen[key.lower()] = key
    return value


class DhcpModel(Section):
    """``dhcp: {range: [first, last]}``."""

    range: Annotated[list[IPv4], Field(min_length=2, max_length=2)]


class NetworkModel(Section):
    """One entry of ``networks``."""

    mode: Literal["nat", "route", "open", "isolated", "very-isolated", "bridge", "macvtap"] = "isolated"
    cidr: Cidr4 | None = None
    cidr6: Cidr6 | None = None
    dhcp: (
        Annotated[
            Annotated[bool, Tag("(switch)")] | Annotated[DhcpModel, Tag("(mapping)")],
            Discriminator(is_switch),
            either("true, false or a mapping with range", bool, dict),
        ]
        | None
    ) = None
    domain: DomainName | None = None
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = None
    autostart: bool = True
    dev: DeviceName | None = None
    bridge: DeviceName | None = None
    nat_ports: Annotated[list[Port], Field(min_length=2, max_length=2)] | None = None
    dns: dict[DomainName, Address] | None = None


class NicModel(Section):
    """One NIC, by the name of its network."""

    ipv4: NicAddress4 | None = None
    ipv6: NicAddress6 | None = None
    mac: Mac | None = None
    filter: Word | None = None
    nmcli: dict[NmcliProperty, NmcliValue] | None = None

    @model_validator(mode="after")
    def _has_address(self) -> NicModel:
        if self.ipv4 is None and self.ipv6 is None:
            raise wrong("this NIC has no address", "add ipv4: ADDRESS or ipv4: dhcp")
        return self


class RouteModel(Section):
    """One static route."""

    to: Prefix
    via: AddressText


class RuleModel(Section):
    """One accepted flow of a host's firewall."""

    proto: Literal["tcp", "udp", "icmp"] = "tcp"
    port: (
        Annotated[
            list[PortRange],
            Shorthand(
                listed, ({"type": "integer"}, {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"})
            ),
        ]
        | None
    ) = None
    source: AddressTextOrPrefix | None = Field(default=None, alias="from")
    to: AddressTextOrPrefix | None = None

    @model_validator(mode="after")
    def _ports_make_sense(self) -> RuleModel:
        if self.proto == "icmp" and self.port is not None:
            raise wrong("icmp has no ports")
        return self


class FirewallModel(Section):
    """A host's own firewall."""

    input: Literal["accept", "drop"] | None = None
    forward: Literal["accept", "drop"] | None = None
    ssh: bool | None = None
    allow: list[RuleModel] | None = None


class ForwardModel(Section):
    """One port forward."""

    on: NetworkName
    port: Port
    to: Annotated[Line, Matching(r"[^\s:]+:[0-9]{1,5}", "target", "HOST:PORT such as web:8080")]
    proto: Literal["tcp", "udp"] = "tcp"


class NatModel(Section):
    """Address translation on a router."""

    masquerade: list[NetworkName] | None = None
    forward: list[ForwardModel] | None = None


class DiskModel(Section):
    """A further disk, GiB."""

    size: Annotated[int, Field(ge=1, le=65536)]


class FileModel(Section):
    """A file in the guest, by its path."""

    content: Text | None = None
    src: Line | None = None
    template: Line | None = None
    owner: UserName | None = None
    group: UserName | None = None
    mode: Annotated[Text, Matching("[0-7]{3,4}", "file mode", "such as 0644")] | None = None
    validate_with: Annotated[Line, AfterValidator(_with_candidate)] | None = Field(
        default=None, alias="validate"
    )
    on_change: Line | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FileModel:
        if sum(getattr(self, origin) is not None for origin in FILE_ORIGINS) != 1:
            raise wrong("a file has exactly one of content, src and template")
        return self


class ServiceModel(Section):
    """A unit of systemd: what it does at boot, and now."""

    enabled: bool | None = None
    running: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ServiceModel:
        if self.enabled is None and self.running is None:
            raise wrong("this says nothing", "enabled or running, true or false")
        return self


class AccessModel(Section):
    """``access: {via: HOST}``."""

    via: HostName


class SshModel(Section):
    """How an existing machine is reached."""

    user: UserName | None = None
    port: Port | None = None
    identity: Line | None = None
    known_hosts: Line | None = None


class Settings(Section):
    """The keys that defaults, groups and hosts have in common."""

    image: ImageName | None = None
    memory: Annotated[int, Field(ge=32, le=16_777_216)] | None = None
    vcpus: Annotated[int, Field(ge=1, le=512)] | None = None
    disk: Annotated[int, Field(ge=1, le=65_536)] | None = None
    disks: (
        list[Annotated[DiskModel, Shorthand(_disk, ({"type": "integer", "minimum": 1, "maximum": 65536},))]]
        | None
    ) = None
    firmware: Literal["bios", "uefi"] | None = None
    autostart: bool | None = None
    driver: Literal["lxc", "qemu"] | None = None
    user: UserName | None = None
    role: Literal["host", "router"] | None = None
    gateway: AddressText | None = None
    routes: list[RouteModel] | None = None
    sysctl: dict[SysctlKey, SysctlValue] | None = None
    sshd: (
        Annotated[
            Annotated[Literal[False], Tag("(switch)")]
            | Annotated[
                dict[
                    SshdKeyword,
                    Annotated[
                        list[SshdValue],
                        Shorthand(listed, tuple({"type": t} for t in ("string", "integer", "boolean"))),
                    ],
                ],
                BeforeValidator(_once),
                AfterValidator(_with_profile),
                Tag("(mapping)"),
            ],
            Discriminator(is_switch),
            BeforeValidator(_sshd),
        ]
        | None
    ) = None
    firewall: FirewallModel | None = None
    nat: NatModel | None = None
    selinux: Literal["enforcing", "permissive", "disabled"] | None = None
    packages: list[PackageName] | None = None
    files: dict[FilePath, FileModel] | None = None
    services: (
        dict[
            UnitName,
            Annotated[
                ServiceModel,
                Shorthand(_service, ({"enum": ["enabled", "disabled", "running", "stopped"]},)),
            ],
        ]
        | None
    ) = None
    hosts_file: bool | None = None
    exclusive: bool | None = None
    access: AccessModel | None = None
    redundancy: Word | None = None
    ssh: SshModel | None = None


class GroupModel(Settings):
    """One entry of ``groups``."""

    hosts: list[Line]
    ssh_keys: list[PublicKey] | None = None


class HostModel(Settings):
    """One entry of ``hosts``."""

    networks: (
        dict[
            Line,
            Annotated[NicModel, Shorthand(_nic, ({"type": "string", "description": "an address or dhcp"},))],
        ]
        | None
    ) = None
    hostname: HostName | None = None
    address: AddressText | None = None
    ssh_keys: list[PublicKey] | None = None


class FilterRuleModel(Section):
    """One rule that the hypervisor enforces."""

    deny: Literal["in", "out", "inout"]
    proto: Literal["all", "tcp", "udp", "icmp", "icmpv6", "arp", "ipv4", "ipv6"] = "all"
    port: Port | None = None

    @model_validator(mode="after")
    def _ports_make_sense(self) -> FilterRuleModel:
        if self.port is not None and self.proto not in ("tcp", "udp"):
            raise wrong(f"{self.proto} has no ports", "proto: tcp or udp")
        return self


class ImageModel(Section):
    """One entry of ``images``."""

    url: Annotated[Line, Matching(r"(https?|file)://\S+", "url", "http, https or file")] | None = None
    sha256: Annotated[Text, Matching("[0-9a-fA-F]{64}", "sha256", "64 hexadecimal digits")] | None = None
    path: Line | None = None
    build: Literal["debian-12"] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ImageModel:
        if sum(part is not None for part in (self.url, self.path, self.build)) != 1:
            raise wrong("an image has exactly one of url, path and build")
        if self.url is not None and self.sha256 is None:
            raise wrong("an image from a url needs its sha256")
        if self.url is None and self.sha256 is not None:
            raise wrong("sha256 goes with a url")
        return self


class MatchModel(Section):
    """What the output of ``exec`` or the body of ``http`` must be like."""

    contains: Text | None = None
    regex: Regex | None = None
    equals: Text | None = None
    json_path: JsonPath | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _asks_for_something(self) -> MatchModel:
        if all(part is None for part in (self.contains, self.regex, self.equals, self.json_path)):
            raise wrong("this asks for nothing", "contains, regex, equals or json")
        return self


_True = Annotated[Literal[True], BeforeValidator(_only_true)]
_MatchOrText = Annotated[MatchModel, Shorthand(_match, ({"type": "string", "description": "contained"},))]


class CheckModel(Section):
    """One declared check."""

    name: Line
    source: EndText = Field(alias="from")
    to: EndText | None = None
    ping: _True | None = None
    trace: _True | None = None
    tcp: Port | None = None
    udp: Port | None = None
    http: HttpTarget | None = None
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
                raise wrong(f"{key} is not for {called}", f"it is for {' and '.join(those)}")
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
            raise wrong(f"what is {self.expect} has no via, status, body or answer")


class ScheduleModel(Section):
    """``schedule: {every: 15m}``."""

    every: Duration


class LabFile(Section):
    """The whole lab file."""

    name: LabName
    hypervisor: Uri = "auto"
    defaults: Settings = Settings()
    networks: dict[NetworkName, NetworkModel] = Field(default_factory=dict)
    hosts: dict[HostName, HostModel]
    groups: dict[GroupName, GroupModel] = Field(default_factory=dict)
    filters: dict[Word, list[FilterRuleModel]] = Field(default_factory=dict)
    images: dict[ImageName, ImageModel] = Field(default_factory=dict)
    checks: list[CheckModel] = Field(default_factory=list)
    schedule: ScheduleModel | None = None
    routing: Literal["auto", "manual"] = "auto"
    ssh_keys: list[PublicKey] = Field(default_factory=list)
