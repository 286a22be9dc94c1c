"""The neighbour table, ARP and neighbour discovery: ``ip -j neighbour``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.bounded import as_address, as_text
from labrun.inventory.model import Address
from labrun.tasks.guest.facts.answers import rows
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["PROBE", "Neighbour", "neighbours"]

PROBE = Probe(script="capture neighbours ip -j neighbour show\n")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; ``mac`` is None for an unresolved one."""

    device: str
    address: Address
    mac: str | None
    failed: bool


def neighbours(facts: Facts) -> tuple[Neighbour, ...]:
    """Return the neighbour table. Raises CommandError, UnreadableError."""
    return tuple(_neighbours(rows(facts, "neighbours", "neighbours", "neighbours")))


def _neighbours(entries: list[Mapping[str, Any]]) -> Iterator[Neighbour]:
    for entry in entries:
        mac, states = entry.get("lladdr"), entry.get("state")
        failed = isinstance(states, list) and ("FAILED" in states or "INCOMPLETE" in states)
        yield Neighbour(
            as_text(entry.get("dev", ""), "neighbours"),
            as_address(entry.get("dst"), "neighbours"),
            as_text(mac, "neighbours").lower() if mac else None,
            failed,
        )
