"""A fault: shell to plant it, shell that prints how to undo it, hints, and the sites where it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labrun.inventory.topology.wiring import Version

__all__ = ["Fault", "FaultSite", "anywhere"]


@dataclass(frozen=True, slots=True)
class FaultSite:
    """One path through the lab that a fault can break: from ``source`` by ``router`` to ``target``.

    ``version`` is the IP version of the path and of all its addresses and prefixes. ``words`` are texts for
    shell and sentences: ``own`` and ``own_len`` (the source's address and prefix length), ``own_net``,
    ``own_mac``, ``gw`` (its next hop), ``goal`` (the route it uses: ``default`` or a prefix), ``far`` and
    ``far_net`` (the target's), ``in_mac`` and ``out_mac`` (the router's NICs on the path), ``other`` (a
    neighbour's address, empty if there is none), ``wide`` and ``narrow`` (wrong prefix lengths, empty if
    none fits).
    """

    source: str
    router: str
    target: str
    is_first_nic: bool
    words: Mapping[str, str]
    version: Version = 4


def anywhere(_spot: FaultSite) -> bool:
    """Accept every site."""
    return True


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the catalogue.

    ``at`` tells which guest is changed: the site's ``source`` or its ``router``. ``undo`` is shell that
    runs before any change and prints the lines that restore the current state; ``plant`` is shell that
    breaks it. Both get the site's words as variables, plus the device names ``$nic`` (source) or ``$in``
    and ``$out`` (router). ``hints`` go from vague to plain; ``named`` is the text that verify must report.
    Hints and ``named`` are format strings over the site's words, ``host``, ``source``, ``router`` and
    ``target``. The fault fits only sites of its IP ``version``.
    """

    name: str
    at: str
    plant: str
    undo: str
    hints: tuple[str, str, str]
    named: str
    fits: Callable[[FaultSite], bool] = anywhere
    version: Version = 4

    def host(self, site: FaultSite) -> str:
        """Return the host that the fault changes."""
        return site.source if self.at == "source" else site.router

    def filled_in(self, text: str, site: FaultSite) -> str:
        """Return a hint or ``named`` with the site's words filled in."""
        ends = {"source": site.source, "router": site.router, "target": site.target}
        return text.format(**site.words, **ends, host=self.host(site))
