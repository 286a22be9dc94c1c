"""Hosts that labrun could not log in to and that were read out of band: their rows say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from labrun.outcome import OUT_OF_BAND, Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.state.sections import READY, Scope, section_of

__all__ = ["marked_out_of_band", "without_login"]


def without_login(
    captures: Mapping[str, Capture | Unreachable], reasons: Mapping[str, str]
) -> dict[str, Capture | Unreachable]:
    """Return the captures; those of hosts in ``reasons`` say why the lab file allows no login to them."""
    return {
        host: replace(capture, no_login=reasons[host])
        if host in reasons and isinstance(capture, Capture)
        else capture
        for host, capture in captures.items()
    }


def marked_out_of_band(
    rows: Iterable[Outcome], captures: Mapping[str, Capture | Unreachable]
) -> list[Outcome]:
    """Return the rows; those of hosts that were read out of band say so in ``why``.

    Each such host gets a row ``ready`` before its other rows, with the reason. It is ``unreachable``, for the
    other rows may all be ok; or ``ok`` where the lab file allows no login to the host.
    """
    entries = {
        host: entry
        for host, capture in captures.items()
        if isinstance(capture, Capture) and (entry := _ready_row(host, capture)) is not None
    }
    explained: set[str] = set()
    marked = []
    for row in rows:
        entry = entries.get(row.host)
        # What libvirt says of a machine has nothing to do with a login.
        if entry is None or section_of(row.section).scope is Scope.LAB:
            marked.append(row)
            continue
        if row.host not in explained:
            explained.add(row.host)
            marked.append(entry)
        marked.append(_marked(row))
    return marked


def _ready_row(host: str, capture: Capture) -> Outcome | None:
    """Return the row that says how a host was read without a login; None if there was one."""
    silence = capture.out_of_band
    if silence is not None:
        return Outcome(host, READY.name, host, silence.status, "ready", "no login", silence.reason)
    if capture.no_login:
        why = f"{capture.no_login}: {OUT_OF_BAND}"
        return Outcome(host, READY.name, host, Status.OK, "ready", "ready", why)
    return None


def _marked(row: Outcome) -> Outcome:
    if row.status in (Status.SKIPPED, Status.UNREACHABLE) or OUT_OF_BAND in (row.why or ""):
        return row
    return replace(row, why=f"{row.why}; {OUT_OF_BAND}" if row.why else OUT_OF_BAND)
