"""What drops connections of one protocol although echoes get through, which is all that a trace shows."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.topology.path_model import Path
from labrun.tasks.collect.causes import Cause, Shown, there_and_back
from labrun.tasks.collect.filter_causes import Passage, protocol_refused, proven_drops
from labrun.tasks.collect.nic_causes import CAUSE, Finding
from labrun.tasks.guest.facts.nft_rules import Proto

__all__ = ["cause_of_blocked", "proven_drop"]

_FIRST, _LAST = 1, 65535


def cause_of_blocked(shown: Shown, path: Path, proto: Proto) -> Cause | None:
    """Return the rule of others that drops all of a protocol at a router of the path.

    A policy does not count: whoever drops by default has said elsewhere what gets through.
    """
    if path.fault is not None or not any(shown.refuses(node, proto) for node in path.way.through):
        return None
    first, last = (
        {
            found.text: Cause.of(found)
            for found in there_and_back(shown, path, _at_a_router, port=port, proto=proto)
        }
        for port in (_FIRST, _LAST)
    )
    return next((each for text, each in first.items() if text in last), None)


def proven_drop(shown: Shown, path: Path, port: int, proto: Proto) -> Cause | None:
    """Return the rule on the path that drops what goes to this port for certain, None if none does."""
    if path.fault is not None:
        return None
    found = there_and_back(shown, path, _at_any, port=port, proto=proto)
    return next((Cause.of(each) for each in found if each.at is not None and each.rank == CAUSE), None)


def _at_a_router(shown: Shown, at: Passage, _place: int, _count: int, _back: bool) -> Iterator[Finding]:
    return protocol_refused(shown, at) if at.came is not None and at.leaves is not None else iter(())


def _at_any(shown: Shown, at: Passage, _place: int, _count: int, _back: bool) -> Iterator[Finding]:
    return proven_drops(shown, at)
