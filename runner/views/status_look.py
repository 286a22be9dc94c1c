"""The appearance of each status in all outputs: one table, from worst to best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from labrun.inventory.drawing.diagram import Health
from labrun.outcome import Status

__all__ = ["LOOKS", "StatusLook", "look"]


@dataclass(frozen=True, slots=True)
class StatusLook:
    """The appearance of one status. Its exit code is in ``Status.code``.

    ``sign`` stands for it wherever there is room for one character: in tables, matrices, the page, a job
    summary and the live screen. ``rank`` sorts rows, lowest first, and ``style`` colours their result,
    ``bright`` a sign of the live screen. ``health`` colours a drawing, ``metric`` is the state in which a
    host with it is counted. ``junit`` is the element in a test case, None = passed. ``folded_value`` replaces
    the values of many equal settings; with ``reason_shared`` one reason applies to all of them.
    """

    status: Status
    sign: str
    rank: int
    style: str
    health: Health
    bright: str = ""
    metric: str = "ok"
    junit: str | None = None
    folded_value: str | None = None
    reason_shared: bool = False

    @property
    def is_good(self) -> bool:
        """Return whether it needs no attention: done, as declared, or not requested."""
        return self.rank >= _CHANGED


_WORST, _SILENT, _DIFFERS, _WARNING, _CHANGED, _SKIPPED, _OK = range(7)

_LOOKS = (
    StatusLook(
        Status.FAILED,
        "x",
        _WORST,
        "bold red",
        Health.FAILED,
        bright="bold red",
        metric="failed",
        junit="failure",
    ),
    StatusLook(
        Status.ROLLED_BACK,
        "x",
        _WORST,
        "bold red",
        Health.FAILED,
        bright="bold red",
        metric="failed",
        junit="failure",
    ),
    StatusLook(
        Status.UNREACHABLE,
        "!",
        _SILENT,
        "magenta",
        Health.UNREACHABLE,
        bright="magenta",
        metric="unreachable",
        junit="error",
        reason_shared=True,
    ),
    StatusLook(
        Status.UNKNOWN,
        "?",
        _SILENT,
        "magenta",
        Health.UNREACHABLE,
        bright="magenta",
        metric="unknown",
        junit="error",
        reason_shared=True,
    ),
    StatusLook(
        Status.CONFLICT,
        "#",
        _DIFFERS,
        "yellow",
        Health.IMPAIRED,
        bright="bold yellow",
        metric="conflict",
        junit="failure",
    ),
    StatusLook(
        Status.DRIFTED,
        "~",
        _DIFFERS,
        "yellow",
        Health.IMPAIRED,
        bright="yellow",
        metric="drifted",
        junit="failure",
    ),
    StatusLook(
        Status.PENDING,
        "+",
        _DIFFERS,
        "yellow",
        Health.IMPAIRED,
        bright="cyan",
        metric="pending",
        junit="failure",
    ),
    StatusLook(
        Status.WOULD_CHANGE,
        "+",
        _DIFFERS,
        "yellow",
        Health.IMPAIRED,
        bright="cyan",
        metric="pending",
        junit="failure",
        folded_value="not applied yet",
    ),
    StatusLook(
        Status.WARNING,
        "w",
        _WARNING,
        "yellow",
        Health.IMPAIRED,
        bright="yellow",
    ),
    StatusLook(Status.CHANGED, "*", _CHANGED, "cyan", Health.OK, folded_value="set"),
    StatusLook(Status.SKIPPED, "-", _SKIPPED, "dim", Health.UNKNOWN, junit="skipped", reason_shared=True),
    StatusLook(Status.OK, ".", _OK, "green", Health.OK, folded_value="as declared"),
)

LOOKS: Mapping[Status, StatusLook] = MappingProxyType({each.status: each for each in _LOOKS})
"""Every status, worst first."""


def look(status: Status) -> StatusLook:
    """Return the appearance of a status."""
    return LOOKS[status]
