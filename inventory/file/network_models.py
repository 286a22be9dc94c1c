"""The lab file's networks and their traffic: NICs, routes, firewalls, translation and filters."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from labrun.inventory.file.address_parsing import DHCP, NONE
from labrun.inventory.file.field_types import (
    Address,
    AddressTextOrPrefix,
    Cidr4,
    Cidr6,
    IPv4,
    Line,
    Mac,
    NextHop,
    NicAddress4,
    NicAddress6,
    NmcliProperty,
    NmcliValue,
    OwnAddress4,
    OwnAddress6,
    Port,
    PortRange,
    Prefix,
)
from labrun.inventory.file.name_types import (
    BridgeName,
    DeviceName,
    DomainName,
    NetworkName,
    Word,
)
from labrun.inventory.file.problems import quoted, shown
from labrun.inventory.file.pydantic_types import (
    Matching,
    Section,
    Shorthand,
    either,
    is_switch,
    listed,
    wrong,
)
from labrun.inventory.route_patterns import route_pattern

__all__ = [
    "FILTER_ACTIONS",
    "DhcpModel",
    "FilterRuleModel",
    "FirewallModel",
    "HypervisorForwardModel",
    "LeftRoutesModel",
    "NatModel",
    "NetworkModel",
    "NicModel",
    "RouteModel",
    "Routes",
    "RoutesModel",
    "with_static",
]


class HypervisorForwardModel(Section):
    """One port of the hypervisor that leads into a network."""

    port: Port
    to: Annotated[Line, Matching(r"(\[[^\s\]]+\]|[^\s:]+):[0-9]{1,5}", "target", "HOST:PORT such as web:80")]
    proto: Literal["tcp", "udp"] = "tcp"


class DhcpModel(Section):
    """``dhcp: {range: [first, last]}``."""

    range: Annotated[list[IPv4], Field(min_length=2, max_length=2)]


class HypervisorModel(Section):
    """``hypervisor_address: {ipv4: 172.16.0.254, ipv6: none}``."""

    ipv4: OwnAddress4 | None = None
    ipv6: OwnAddress6 | None = None


def _own_addresses(value: Any) -> Any:
    if value == NONE:
        return {"ipv4": NONE, "ipv6": NONE}
    if not isinstance(value, str | dict):
        raise wrong(f"expected an address, none or a mapping, got {shown(value)}")
    return {"ipv6" if ":" in value else "ipv4": value} if isinstance(value, str) else value


class VlanModel(Section):
    """``vlan: {on: trunk, id: 20}``."""

    on: NetworkName
    id: Annotated[int, Field(ge=1, le=4094)]


class NetworkModel(Section):
    """One entry of ``networks``."""

    mode: Literal["nat", "route", "open", "isolated", "very-isolated", "bridge", "macvtap"] = "isolated"
    cidr: Cidr4 | None = None
    cidr6: Cidr6 | None = None
    hypervisor_address: (
        Annotated[
            HypervisorModel,
            Shorthand(_own_addresses, ({"type": "string", "description": "an address or none"},)),
        ]
        | None
    ) = None
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
    bridge_name: BridgeName | None = None
    nat_ports: Annotated[list[Port], Field(min_length=2, max_length=2)] | None = None
    dns: dict[DomainName, Address] | None = None
    forward: list[HypervisorForwardModel] | None = None
    vlan: VlanModel | None = None


_SEVERAL = Shorthand(listed, ({"type": "string"},))


def _refused_tag(_value: int) -> int:
    # Without its tag the NIC would be in one segment with those that the file keeps it apart from.
    raise wrong("a VLAN is a network, and NICs are on it", "networks: {users: {vlan: {on: trunk, id: 20}}}")


class NicModel(Section):
    """One NIC, by its name: that of its network, unless ``network`` says which network it is on."""

    network: NetworkName | None = None
    ipv4: Annotated[list[NicAddress4], _SEVERAL] | None = None
    ipv6: Annotated[list[NicAddress6], _SEVERAL] | None = None
    mac: Mac | None = None
    filter: Word | None = None
    nmcli: dict[NmcliProperty, NmcliValue] | None = None
    spoofing: Literal["allow", "deny"] | None = None
    model: Literal["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"] | None = None
    vlan: Annotated[int, Field(ge=1, le=4094), AfterValidator(_refused_tag)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> NicModel:
        if len(self.ipv4 or ()) > 1 and DHCP in (self.ipv4 or ()):
            raise wrong("dhcp cannot be combined with addresses", "ipv4: dhcp, or addresses only")
        word = next((each for each in self.ipv6 or () if isinstance(each, str)), None)
        if len(self.ipv6 or ()) > 1 and word is not None:
            raise wrong(f"{word} cannot be combined with addresses", f"ipv6: {word}, or addresses only")
        return self

    def where(self, name: str) -> str:
        """Return the network of the NIC that has this name."""
        return name if self.network is None else self.network


class RouteModel(Section):
    """One static route."""

    to: Prefix
    via: NextHop


def _as_pattern(value: str) -> str:
    try:
        route_pattern(value)
    except ValueError as error:
        raise wrong(f"{quoted(value)} names no routes: {error}", "such as proto bird or dev wg0") from error
    return value


IgnoredRoutes = list[Annotated[Line, AfterValidator(_as_pattern)]]


class RoutesModel(Section):
    """A host's static routes, and those of others that are left alone."""

    static: list[RouteModel] | None = None
    ignore: IgnoredRoutes | None = None


def with_static(value: list[RouteModel] | RoutesModel) -> RoutesModel:
    """Return a host's ``routes`` in their long form: a list is that of the static ones."""
    return RoutesModel(static=value) if isinstance(value, list) else value


Routes = Annotated[
    Annotated[list[RouteModel], Tag("(list)")] | Annotated[RoutesModel, Tag("(mapping)")],
    Discriminator(lambda value: "(mapping)" if isinstance(value, dict | RoutesModel) else "(list)"),
    AfterValidator(with_static),
]


class LeftRoutesModel(Section):
    """``routes: {ignore: [proto bird]}`` for all hosts."""

    ignore: IgnoredRoutes


Ports = Annotated[
    list[PortRange],
    Shorthand(listed, ({"type": "integer"}, {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"})),
]


class RuleModel(Section):
    """One accepted flow of a host's firewall."""

    proto: Literal["tcp", "udp", "icmp"] = "tcp"
    port: Ports | None = None
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


def _all_or_some(value: Any) -> Any:
    if value != "all" and not isinstance(value, list):
        raise wrong(f"expected all or a list of networks, got {shown(value)}")
    return value


class NatModel(Section):
    """Address translation on a router."""

    masquerade: (
        Annotated[
            Annotated[Literal["all"], Tag("(word)")] | Annotated[list[NetworkName], Tag("(list)")],
            Discriminator(lambda value: "(word)" if value == "all" else "(list)"),
            BeforeValidator(_all_or_some),
        ]
        | None
    ) = None
    forward: list[ForwardModel] | None = None


FILTER_ACTIONS: Final[tuple[Literal["deny", "reject", "allow"], ...]] = ("deny", "reject", "allow")


class FilterRuleModel(Section):
    """One rule that the hypervisor enforces."""

    deny: Literal["in", "out", "inout"] | None = None
    reject: Literal["in", "out", "inout"] | None = None
    allow: Literal["in", "out", "inout"] | None = None
    proto: Literal["all", "tcp", "udp", "icmp", "icmpv6", "arp", "ipv4", "ipv6"] = "all"
    port: Ports | None = None
    source: AddressTextOrPrefix | None = Field(default=None, alias="from")
    to: AddressTextOrPrefix | None = None
    log: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> FilterRuleModel:
        if sum(getattr(self, action) is not None for action in FILTER_ACTIONS) != 1:
            raise wrong("a rule has exactly one of deny, reject and allow", "in, out or inout")
        if self.port is not None and self.proto not in ("tcp", "udp"):
            raise wrong(f"{self.proto} has no ports", "proto: tcp or udp")
        if self.proto == "arp" and (self.source is not None or self.to is not None):
            raise wrong("arp is not between two addresses", "leave from and to out")
        if self.proto == "arp" and self.reject is not None:
            raise wrong("arp cannot be rejected: it has no answer for that", "deny it")
        if self.log and self.allow is not None:
            raise wrong("log is of what is refused", "leave it out of rules with allow")
        return self
