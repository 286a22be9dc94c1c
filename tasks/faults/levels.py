"""How hard a fault is to find: by where a person has to look."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from labrun.tasks.faults.hidden_faults import HIDDEN

if TYPE_CHECKING:
    from labrun.tasks.faults.model import Fault

__all__ = ["Level", "level_of"]


class Level(StrEnum):
    """A level of difficulty.

    ``EASY``: one look at addresses, routes, one kernel parameter or one service shows it. ``MEDIUM``: rules,
    filters, neighbours, or two values that have to be compared. ``HARD``: the usual lists look right.
    """

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


_EASY: Final = frozenset(
    (
        *("forwarding-off", "route-missing", "gateway-wrong", "blackhole-route", "prohibit-route"),
        *("connected-route-missing", "nic-down", "address-missing", "sshd-stopped", "passwords-allowed"),
    )
)
_HARD: Final = frozenset(fault.name for fault in HIDDEN)


def level_of(fault: Fault) -> Level:
    """Return the level of a fault; that of IPv6 is the one of its IPv4 twin."""
    if fault.name in _HARD:
        return Level.HARD
    return Level.EASY if fault.name.removesuffix("-v6") in _EASY else Level.MEDIUM
