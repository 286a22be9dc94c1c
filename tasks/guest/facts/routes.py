"""The main route tables as the kernel has them: ``ip -j route``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.bounded import as_address, as_integer, as_object, as_prefix, as_text, objects
from labrun.inventory.model import Address, Prefix
from labrun.inventory.route_patterns import RoutePattern
from labrun.tasks.guest.facts.answers import rows
from labrun.tasks.guest.shell import Facts, Probe

__all__ = [
    "BY_HAND",
    "CACHED",
    "LOCAL",
    "PROBE6",
    "ObservedRoute",
    "learned_routes",
    "local_routes",
    "parse_routes",
    "routes",
]

PROBE6 = Probe(script="capture route6 ip -6 -j route show table main\n")
"""Asks for IPv6 routes; those of IPv4 come with ``links.PROBE``."""

LOCAL = Probe(
    script="capture local4 ip -4 -j route show table local\ncapture local6 ip -6 -j route show table local\n"
)
"""Asks for what the host takes for its own addresses, whatever its NICs have."""

CACHED = Probe(
    script="capture cached4 ip -4 -j route show cache\ncapture cached6 ip -6 -j route show cache\n"
)
"""Asks for what the kernel has learned by itself: other gateways (ICMP redirects) and MTUs of paths."""

BY_HAND = frozenset({"", "static", "boot", "dhcp", "ra"})
"""The protocols of routes that a person or NetworkManager sets; iproute2 leaves out ``boot``."""

_WHAT = {4: "ip route", 6: "ip -6 route"}


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """One route of the main table; ``kind`` is ``unicast`` or another type (``blackhole`` ...).

    ``source`` is the address that the host's own packets get on it, ``mtu`` the size in bytes of what it
    lets through, ``hop_limit`` how many hops they get; None if the route does not say.
    """

    prefix: Prefix
    via: Address | None
    device: str
    kind: str = "unicast"
    protocol: str = ""
    metric: int = 0
    source: Address | None = None
    mtu: int | None = None
    hop_limit: int | None = None

    @property
    def removal(self) -> str:
        """Return the command that removes it."""
        return self._command("del")

    @property
    def plain(self) -> str:
        """Return the command that puts the same route in its place, without a source and an MTU."""
        return self._command("replace")

    def _command(self, verb: str) -> str:
        words = ["ip", "-6"] if self.prefix.version == 6 else ["ip"]
        words += ["route", verb, *([] if self.kind == "unicast" else [self.kind])]
        words.append("default" if self.prefix.prefixlen == 0 else str(self.prefix))
        words += ["via", str(self.via)] if self.via is not None else []
        words += ["dev", self.device] if self.device and self.kind == "unicast" else []
        words += ["proto", self.protocol] if self.protocol not in ("", "boot") else []
        return " ".join([*words, *(["metric", str(self.metric)] if self.metric else [])])

    @property
    def is_by_hand(self) -> bool:
        """Tell whether a person or NetworkManager set it: neither the kernel nor a routing daemon."""
        return self.protocol in BY_HAND

    def fits(self, patterns: Iterable[RoutePattern]) -> bool:
        """Tell whether the lab file tells labrun to leave it alone."""
        via = str(self.via) if self.via is not None else ""
        return any(
            pattern.fits(self.prefix, via=via, dev=self.device, kind=self.kind, proto=self.protocol)
            for pattern in patterns
        )

    @property
    def is_of_address(self) -> bool:
        """Tell whether the kernel made it for an address of the host."""
        return self.protocol == "kernel"


def routes(facts: Facts, version: int) -> tuple[ObservedRoute, ...]:
    """Return the routes of one IP version, a multipath route once per next hop.

    Raises CommandError if the gather did not ask or ip failed, UnreadableError for other output.
    """
    what = _WHAT[version]
    return tuple(
        route for row in rows(facts, f"route{version}", what, "routes") for route in _hops(row, version, what)
    )


def parse_routes(found: Iterable[Mapping[str, Any]], version: int) -> tuple[ObservedRoute, ...]:
    """Return the routes in the output of ``ip -j route``. Raises UnreadableError."""
    return tuple(route for row in found for route in _hops(row, version, _WHAT[version]))


def local_routes(facts: Facts, version: int) -> tuple[ObservedRoute, ...]:
    """Return the prefixes that the host takes for its own, and what somebody made addresses or such.

    Raises as :func:`routes` does.
    """
    what = f"{_WHAT[version]} show table local"
    return tuple(
        route
        for row in rows(facts, f"local{version}", what, "routes")
        for route in _hops(row, version, what)
        if route.kind == "local" or not route.is_of_address
    )


def learned_routes(facts: Facts, version: int) -> tuple[ObservedRoute, ...]:
    """Return the routes of single addresses that the kernel has learned; raises as :func:`routes` does."""
    what = f"{_WHAT[version]} show cache"
    return tuple(
        route
        for row in rows(facts, f"cached{version}", what, "routes")
        for route in _hops(row, version, what)
    )


def _hops(route: Mapping[str, Any], version: int, what: str) -> Iterator[ObservedRoute]:
    dst = as_text(route.get("dst"), what)
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    prefix = as_prefix(everything if dst == "default" else dst, what)
    limits = objects(route.get("metrics") or [], what, "metrics")
    for hop in objects(route.get("nexthops") or [route], what, "next hops"):
        via = hop.get("gateway") or as_object(hop.get("via") or {}, what).get("host")
        yield ObservedRoute(
            prefix=prefix,
            via=as_address(via, what) if via else None,
            device=as_text(hop.get("dev", ""), what),
            kind=as_text(route.get("type", "unicast"), what),
            protocol=as_text(route.get("protocol", ""), what),
            metric=as_integer(route.get("metric", 0), what),
            source=as_address(route["prefsrc"], what) if route.get("prefsrc") else None,
            mtu=next((as_integer(each["mtu"], what) for each in limits if "mtu" in each), None),
            hop_limit=next(
                (as_integer(each["hoplimit"], what) for each in limits if "hoplimit" in each), None
            ),
        )
