"""The rows of ``labrun fleet``: one for each thing that a machine has, or lacks."""

from __future__ import annotations

from labrun.errors import LabrunError, TransportError
from labrun.outcome import HYPERVISOR, Outcome, Status

__all__ = ["SECTION", "error_row", "fleet_row"]

SECTION = "fleet"


def fleet_row(name: str, status: Status, actual: str | None = None, why: str | None = None) -> Outcome:
    """Return a row about the fleet; none of them is about a host of a lab."""
    return Outcome(HYPERVISOR, SECTION, name, status, actual=actual, why=why)


def error_row(name: str, error: LabrunError) -> Outcome:
    """Return the row of what could not be done."""
    status = Status.UNREACHABLE if isinstance(error, TransportError) else Status.FAILED
    reason = f"{error.reason} ({error.hint})" if error.hint else error.reason
    return fleet_row(name, status, why=reason)
