"""Longest-prefix match in one route table, with cached results."""

from __future__ import annotations

from labrun.inventory.topology.routing import Route

__all__ = ["Fib"]


class Fib:
    """Look up routes of one IP version by masking the address for each prefix length present.

    Addresses are integers here: hashing an ``ipaddress`` object costs more than the rest of the lookup.
    """

    def __init__(self, routes: tuple[Route, ...]) -> None:
        by_length: dict[int, dict[int, Route]] = {}
        for route in routes:
            same = by_length.setdefault(route.prefix.prefixlen, {})
            known = same.get(int(route.prefix.network_address))
            if known is None or route.metric < known.metric:
                same[int(route.prefix.network_address)] = route
        width = routes[0].prefix.max_prefixlen if routes else 0
        self._lengths = [
            ((1 << width) - (1 << (width - length)), by_length[length])
            for length in sorted(by_length, reverse=True)
        ]
        self._found: dict[int, Route | None] = {}

    def find(self, address: int) -> Route | None:
        """Return the most specific route to the address, None if there is no route."""
        if address not in self._found:
            self._found[address] = self._search(address)
        return self._found[address]

    def _search(self, address: int) -> Route | None:
        for mask, routes in self._lengths:
            route = routes.get(address & mask)
            if route is not None:
                return route
        return None
