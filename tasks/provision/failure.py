"""The result row for an error in a provisioning step."""

from __future__ import annotations

import time

from labrun.errors import HypervisorError, LabrunError
from labrun.outcome import Outcome, Status

__all__ = ["failure_row"]


def failure_row(error: LabrunError, host: str, section: str, name: str, began: float) -> Outcome:
    """Return the row of a step that failed with an error."""
    why = f"{error.step}: {error.reason}" if error.step else error.reason
    return Outcome(
        host=host,
        section=section,
        name=name,
        status=Status.FAILED,
        why=f"{why} ({error.hint})" if error.hint else why,
        seconds=time.monotonic() - began,
        hypervisor_fault=isinstance(error, HypervisorError),
    )
