"""Routes that a lab file tells labrun to leave alone, in the words of ``ip route``: ``proto bird``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["RoutePattern", "route_pattern"]

# As /etc/iproute2/rt_protos has them; a guest whose iproute2 does not know a name prints the number.
_PROTOCOLS: Final = {
    name: number
    for names, first in (
        ("redirect kernel boot static", 1),
        ("gated ra mrt zebra bird dnrouted xorp ntk dhcp mrouted keepalived", 8),
        ("babel", 42),
        ("openr", 99),
        ("bgp isis ospf rip", 186),
        ("eigrp", 192),
    )
    for number, name in enumerate(names.split(), first)
}
_KINDS: Final = ("unicast", "blackhole", "unreachable", "prohibit", "throw")


@dataclass(frozen=True, slots=True)
class RoutePattern:
    """What a route must have to be left alone; an empty value or None fits every route.

    ``to`` fits the routes to it and to anything within it.
    """

    proto: str = ""
    dev: str = ""
    via: str = ""
    kind: str = ""
    to: IPv4Network | IPv6Network | None = None

    def __str__(self) -> str:
        pairs = (
            ("proto", self.proto),
            ("dev", self.dev),
            ("via", self.via),
            ("type", self.kind),
            ("to", self.to),
        )
        return " ".join(f"{name} {value}" for name, value in pairs if value)

    def fits(self, prefix: IPv4Network | IPv6Network, *, via: str, dev: str, kind: str, proto: str) -> bool:
        """Tell whether a route fits; ``via`` is its gateway as text, empty if it has none."""
        return (
            self.dev in ("", dev)
            and self.kind in ("", kind)
            and self.via in ("", via)
            and (not self.proto or _number(self.proto) == _number(proto or "boot"))
            and (self.to is None or _within(prefix, self.to))
        )


def _number(proto: str) -> str:
    return str(_PROTOCOLS.get(proto, proto))


def _within(prefix: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return prefix.version == outer.version and prefix.subnet_of(outer)  # type: ignore[arg-type]


def route_pattern(text: str) -> RoutePattern:
    """Return the pattern of ``proto bird dev eth1``, ``to 10.0.0.0/8`` or the like; ValueError for others."""
    words = text.split()
    given: dict[str, str] = {}
    while words:
        name = words.pop(0)
        if name not in ("proto", "dev", "via", "type", "to"):
            raise ValueError(f"{name} is not one of proto, dev, via, type, to")
        if not words:
            raise ValueError(f"{name} has no value")
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = words.pop(0)
    if not given:
        raise ValueError("this matches every route")
    if given.get("type", "unicast") not in _KINDS:
        raise ValueError(f"{given['type']} is not one of {', '.join(_KINDS)}")
    return RoutePattern(
        proto=given.get("proto", ""),
        dev=given.get("dev", ""),
        via=str(ip_address(given["via"])) if "via" in given else "",
        kind=given.get("type", ""),
        to=ip_network(given["to"], strict=False) if "to" in given else None,
    )
