"""The rows of a lab's last verify, for drawings and reports: remembered, and decides nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labrun.inventory.model import Lab
from labrun.outcome import Outcome, Status
from labrun.runner.options import Invocation
from labrun.state import LabState, write_private

__all__ = ["LastVerify", "read_last_verify", "remember_verify"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LastVerify:
    """One verify: its run ID, the SHA-256 of the lab file it was about, seconds taken, and its rows."""

    run: str
    digest: str
    seconds: float
    rows: tuple[Outcome, ...]

    @property
    def when(self) -> str:
        """Return the time at which it began, as in its run ID: ``2026-11-20T16:00:00Z``."""
        return self.run.rpartition("-")[0] or self.run

    def is_of(self, lab: Lab) -> bool:
        """Tell whether the lab file is still as it was then."""
        return self.digest == lab.digest


def remember_verify(state: LabState, lab: Lab, invocation: Invocation, rows: Sequence[Outcome]) -> None:
    """Keep the rows in place of the last ones; that this cannot be written ends no command."""
    content = {
        "schema": _SCHEMA,
        "run": invocation.run,
        "digest": lab.digest,
        "seconds": round(invocation.seconds, 3),
        "rows": [row.as_json() for row in rows],
    }
    with contextlib.suppress(OSError):
        write_private(state.last_verify, json.dumps(content) + "\n")


def read_last_verify(state: LabState) -> LastVerify | None:
    """Return the last verify; None where there was none, or where its file is not what labrun wrote."""
    try:
        found = json.loads(state.last_verify.read_text(encoding="utf-8"))
        if found["schema"] != _SCHEMA:
            return None
        rows = tuple(_row(row) for row in found["rows"])
        return LastVerify(str(found["run"]), str(found["digest"]), float(found["seconds"]), rows)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _row(row: Mapping[str, Any]) -> Outcome:
    return Outcome(**{**row, "status": Status(row["status"])})
