"""Hosts that did not let labrun in and were read out of band: their rows say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from labrun.outcome import OUT_OF_BAND, Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.state.sections import READY, Scope, section_of

__all__ = ["marked_out_of_band"]


def marked_out_of_band(
    rows: Iterable[Outcome], captures: Mapping[str, Capture | Unreachable]
) -> list[Outcome]:
    """Return the rows; those of hosts that were read out of band say so in ``why``.

    Each such host gets a row ``ready`` before its other rows, ``unreachable``, with the reason: its other
    rows may all be ok.
    """
    silences = {
        host: capture.out_of_band
        for host, capture in captures.items()
        if isinstance(capture, Capture) and capture.out_of_band is not None
    }
    explained: set[str] = set()
    found = []
    for row in rows:
        silence = silences.get(row.host)
        # What libvirt says of a machine has nothing to do with a login.
        if silence is None or section_of(row.section).scope is Scope.LAB:
            found.append(row)
            continue
        if row.host not in explained:
            explained.add(row.host)
            found.append(
                Outcome(row.host, READY.name, row.host, silence.status, "ready", "no login", silence.reason)
            )
        found.append(_marked(row))
    return found


def _marked(row: Outcome) -> Outcome:
    if row.status in (Status.SKIPPED, Status.UNREACHABLE) or OUT_OF_BAND in (row.why or ""):
        return row
    return replace(row, why=f"{row.why}; {OUT_OF_BAND}" if row.why else OUT_OF_BAND)
