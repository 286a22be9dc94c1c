"""One host's configuration as rows: its observed state, the lab file, and what was last applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from labrun.errors import UnreadableError
from labrun.outcome import Outcome, Status
from labrun.tasks.configure.plan import Json
from labrun.tasks.configure.resources import plan_host, row_names, sections_of
from labrun.tasks.guest.facts.applied import PATH, Applied, record_of
from labrun.tasks.guest.shell import Facts
from labrun.tasks.judging import guarded, understood
from labrun.tasks.state.fingerprint import from_text
from labrun.tasks.state.item import Item
from labrun.tasks.state.rows import row_of
from labrun.tasks.state.verdict import Verdict, verdict

__all__ = ["host_rows", "silent_rows"]


def host_rows(spec: Json, facts: Facts) -> Iterator[Outcome]:
    """Yield a row for everything that ``configure`` manages on this host, in its order."""
    host = spec["host"]
    applied: Applied | None = None
    untold: str | None = None
    try:
        applied = understood(PATH, lambda: record_of(facts))
    except UnreadableError as error:
        untold = error.on(host)
    for section in sections_of(spec):
        yield from guarded(
            host,
            partial(_section, spec, facts, section, applied, untold),
            partial(silent_rows, spec, Status.UNKNOWN, section=section),
        )


def _section(
    spec: Json, facts: Facts, section: str, applied: Applied | None, untold: str | None
) -> Iterator[Outcome]:
    """Yield the rows of one section; ``untold`` is why the host's record cannot be read."""
    asked = frozenset(row_names(spec, (section,)))
    for part in plan_host(spec, facts, (section,)).sections:
        for item in part.items:
            row = _row(spec["host"], section, item, applied, asked=(section, item.name) in asked)
            if untold is not None and row.status not in (Status.OK, Status.SKIPPED):
                why = f"which side has changed is unknown: {untold}; `labrun configure` records it again"
                row = replace(row, status=Status.UNKNOWN, why=why)
            yield row


def silent_rows(spec: Json, status: Status, why: str, section: str | None = None) -> Iterator[Outcome]:
    """Yield `status` rows for a host, or a section of it, that reports nothing: no row is left out."""
    for where, name in row_names(spec, () if section is None else (section,)):
        yield Outcome(spec["host"], where, name, status, why=why)


def _row(host: str, section: str, item: Item, applied: Applied | None, *, asked: bool) -> Outcome:
    last = applied.items.get((section, item.name)) if applied is not None else None
    judged = verdict(
        item, None if last is None else from_text(last), asked=asked, recorded=applied is not None
    )
    return row_of(host, section, item, judged.status, _why(item, judged, applied))


def _why(item: Item, judged: Verdict, applied: Applied | None) -> str | None:
    if judged.status is Status.OK:
        return None
    parts = [item.why] if item.why else []
    if judged.status is Status.PENDING and applied is None:
        parts.append("nothing has been applied to this host yet")
    elif judged.status is Status.CONFLICT and len(item.want) > 1:
        by_hand, in_file = (judged.moved(side, Status.CONFLICT) for side in (Status.DRIFTED, Status.PENDING))
        parts.append(f"changed on the host: {', '.join(by_hand)}; changed in the file: {', '.join(in_file)}")
    elif judged.status is Status.CONFLICT:
        parts.append("the file and the host have both changed")
    elif judged.status is Status.UNKNOWN and not item.why:
        parts.append(
            "neither the file nor the host has changed since it was applied"
            if judged.parts
            else "the record of what was applied says nothing about it"
        )
    return "; ".join(parts) or None
