"""NICs as the kernel has them, in the output of ``ip -d -j address``, wherever it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from labrun.bounded import as_integer, as_interface, as_list, as_object, as_text, objects

__all__ = ["Link", "LinkAddress", "nics_by_mac", "parse_links"]

_WHAT = "ip address"
# What is made of other devices, as iproute2 names its kind: it may have the MAC of one of them.
_MADE_OF_OTHERS = frozenset({"bridge", "bond", "team", "vrf", "dummy", "ifb", "nlmon", "vxlan", "geneve"})


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """A global address of a NIC; ``dynamic`` = has a lifetime, ``temporary`` = an IPv6 privacy address.

    ``tentative`` = the kernel still asks whether another device has it, and does not use it.
    """

    interface: IPv4Interface | IPv6Interface
    dynamic: bool = False
    temporary: bool = False
    tentative: bool = False

    @property
    def is_fleeting(self) -> bool:
        """Tell whether it comes and goes by itself (SLAAC, privacy); a DHCPv4 address never does."""
        return self.interface.version == 6 and (self.dynamic or self.temporary)


@dataclass(frozen=True, slots=True)
class Link:
    """One network device.

    ``is_ethernet`` tells it from a tunnel or the loopback; ``is_up`` = switched on (``is_on``) and, as far as
    the kernel can tell, connected; ``has_arp`` is False if it does not do ARP; ``mtu`` is in bytes; ``queue``
    is what its packets wait in (such as ``fq_codel``). ``burned_in`` is the NIC's own MAC if it is known and
    another one is set. ``kind`` is iproute2's (``vlan``, ``veth``), empty for a physical NIC. ``on`` is the
    device of this host that it stands on, ``port_of`` the bridge, bond or VRF that it belongs to; empty if
    there is none. ``unusable`` are addresses that do not count, with the reason. ``index`` is the kernel's
    number of it, 0 if it is not known. ``tag`` is that of a VLAN device (1 to 4094), 0 for any other.
    """

    name: str
    mac: str = ""
    burned_in: str = ""
    kind: str = ""
    on: str = ""
    port_of: str = ""
    is_ethernet: bool = True
    is_up: bool = True
    is_on: bool = True
    has_arp: bool = True
    mtu: int | None = None
    queue: str = ""
    held: tuple[LinkAddress, ...] = ()
    unusable: tuple[tuple[IPv4Interface | IPv6Interface, str], ...] = ()
    index: int = 0
    tag: int = 0

    @property
    def is_stacked(self) -> bool:
        """Tell whether it was made on top of other devices: a VLAN or bridge often has the MAC of a NIC."""
        # The peer of a veth is not below it.
        return self.kind in _MADE_OF_OTHERS or (bool(self.on) and self.kind != "veth")

    @property
    def addresses(self) -> frozenset[IPv4Interface | IPv6Interface]:
        """Return all global addresses."""
        return frozenset(each.interface for each in self.held)

    @property
    def lasting(self) -> frozenset[IPv4Interface | IPv6Interface]:
        """Return the addresses without a lifetime."""
        return frozenset(each.interface for each in self.held if not each.dynamic)

    @property
    def settled(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return the addresses that stay, DHCPv4 leases included, in the kernel's order."""
        return tuple(each.interface for each in self.held if not each.is_fleeting)

    @property
    def fleeting(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return the addresses that come and go, in the kernel's order."""
        return tuple(each.interface for each in self.held if each.is_fleeting)


def parse_links(found: Iterable[Mapping[str, Any]]) -> tuple[Link, ...]:
    """Return the links in the output of ``ip -j address``. Raises UnreadableError."""
    return tuple(_link(each) for each in found)


def nics_by_mac(found: Iterable[Link]) -> dict[str, Link]:
    """Return the Ethernet devices by their own MAC; a device that stands on others counts if no NIC has it.

    If several NICs have one MAC, the first one counts.
    """
    nics: dict[str, Link] = {}
    for link in sorted(found, key=lambda link: link.is_stacked):
        if link.is_ethernet:
            nics.setdefault(link.burned_in or link.mac, link)
    return nics


def _link(link: Mapping[str, Any]) -> Link:
    flags = as_list(link.get("flags", []), _WHAT)
    made = as_object(link.get("linkinfo") or {}, _WHAT)
    kind = as_text(made.get("info_kind", ""), _WHAT)
    data = as_object(made.get("info_data") or {}, _WHAT) if kind == "vlan" else {}
    return Link(
        name=as_text(link.get("ifname"), _WHAT),
        mac=as_text(link.get("address", ""), _WHAT).lower(),
        burned_in=as_text(link.get("permaddr", ""), _WHAT).lower(),
        kind=kind,
        on=as_text(link.get("link") or "", _WHAT),
        port_of=as_text(link.get("master", ""), _WHAT),
        is_ethernet=link.get("link_type") == "ether",
        is_up="UP" in flags and link.get("operstate") not in ("DOWN", "LOWERLAYERDOWN"),
        is_on="UP" in flags,
        has_arp="NOARP" not in flags,
        mtu=as_integer(link["mtu"], _WHAT) if "mtu" in link else None,
        queue=as_text(link.get("qdisc") or "", _WHAT),
        held=tuple(_addresses(link)),
        unusable=tuple(_unusable(link)),
        index=as_integer(link.get("ifindex", 0), _WHAT),
        tag=as_integer(data.get("id", 0), _WHAT),
    )


def _addresses(link: Mapping[str, Any]) -> Iterator[LinkAddress]:
    for each in objects(link.get("addr_info", []), _WHAT, "addresses"):
        if each.get("scope") == "global" and "local" in each and not each.get("dadfailed"):
            yield LinkAddress(
                as_interface(f"{each['local']}/{each.get('prefixlen')}", _WHAT),
                dynamic=bool(each.get("dynamic")),
                temporary=bool(each.get("temporary")),
                tentative=bool(each.get("tentative")),
            )


def _unusable(link: Mapping[str, Any]) -> Iterator[tuple[IPv4Interface | IPv6Interface, str]]:
    """Yield the addresses that are there and do not count, with the reason."""
    for each in objects(link.get("addr_info", []), _WHAT, "addresses"):
        scope = as_text(each.get("scope", "global"), _WHAT)
        failed = bool(each.get("dadfailed"))
        if "local" not in each or (scope == "global" and not failed):
            continue
        why = "another device has it (duplicate address detection failed)" if failed else f"scope {scope}"
        yield as_interface(f"{each['local']}/{each.get('prefixlen')}", _WHAT), why
