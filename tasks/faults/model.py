"""What a fault is: shell to plant it, shell that prints how to undo it, hints, and where it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labrun.inventory.topology.wiring import Version

__all__ = ["Fault", "FaultSite", "anywhere"]


@dataclass(frozen=True, slots=True)
class FaultSite:
    """One way through the lab that a fault can break: from ``source`` by ``router`` to ``target``.

    ``version`` is the way's IP version, and that of all addresses and prefixes.
    ``words`` are text for shell and sentences: ``own`` and ``own_len`` (the source's address and
    prefix length), ``own_net``, ``own_mac``, ``gw`` (its next hop), ``goal`` (the route it takes:
    ``default`` or a prefix), ``far`` and ``far_net`` (the target's), ``in_mac`` and ``out_mac`` (the
    router's NICs on the way), ``other`` (a neighbour's address, empty without one), ``wide`` and
    ``narrow`` (wrong prefix lengths, empty where none fits).
    """

    source: str
    router: str
    target: str
    is_first_nic: bool
    words: Mapping[str, str]
    version: Version = 4


def anywhere(_spot: FaultSite) -> bool:
    """Accept every spot."""
    return True


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the catalogue.

    ``at`` says whose guest is changed: the spot's ``source`` or its ``router``. ``undo`` is shell
    that prints, before anything is changed, the lines that put back what is there now; ``plant``
    is what breaks it. Both have the spot's words as variables, besides ``$nic`` (source) or
    ``$in`` and ``$out`` (router), the device names. ``hints`` go from vague to plain; ``named`` is
    what verify must say. Hints and ``named`` are format strings of the spot's words, ``host``,
    ``source``, ``router`` and ``target``. Spots of another IP ``version`` have no room for it.
    """

    name: str
    at: str
    plant: str
    undo: str
    hints: tuple[str, str, str]
    named: str
    fits: Callable[[FaultSite], bool] = anywhere
    version: Version = 4

    def host(self, spot: FaultSite) -> str:
        """Return the host that is changed."""
        return spot.source if self.at == "source" else spot.router

    def said(self, text: str, spot: FaultSite) -> str:
        """Return a hint or ``named`` with the spot's words in it."""
        ends = {"source": spot.source, "router": spot.router, "target": spot.target}
        return text.format(**spot.words, **ends, host=self.host(spot))
