"""One host's configuration as rows: its observed state, the lab file, and what was last applied."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from labrun.errors import UnreadableError
from labrun.outcome import Outcome, Status
from labrun.tasks.configure.applied import fingerprint
from labrun.tasks.configure.plan import Item, Json
from labrun.tasks.configure.resources import plan_host, row_names, sections_of
from labrun.tasks.drift.verdict import Sides, verdict
from labrun.tasks.guest.facts.applied import PATH, Applied, record_of
from labrun.tasks.guest.shell import Facts
from labrun.tasks.judging import guarded, understood

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
            key = (section, item.name)
            status = _verdict(item, key, applied, asked=key in asked)
            why = _why(item, status, applied)
            if untold is not None and status not in (Status.OK, Status.SKIPPED):
                status, why = (
                    Status.UNKNOWN,
                    f"who has moved cannot be told: {untold}; `labrun configure` writes it anew",
                )
            diff = None if status is Status.OK else item.diff
            yield Outcome(spec["host"], *key, status, item.expected, item.actual, why, diff)


def silent_rows(spec: Json, status: Status, why: str, section: str | None = None) -> Iterator[Outcome]:
    """Yield `status` rows for a host, or a section of it, that reports nothing: no row is left out."""
    for where, name in row_names(spec, () if section is None else (section,)):
        yield Outcome(spec["host"], where, name, status, why=why)


def _verdict(item: Item, key: tuple[str, str], applied: Applied | None, *, asked: bool) -> Status:
    if item.state == "skipped":
        return Status.SKIPPED
    last = applied.items.get(key) if applied is not None else None
    now = fingerprint(item)
    untold = item.observed is None and (not asked or (item.state == "refused" and not item.actual))
    return verdict(
        Sides(
            holds=item.state == "ok",
            declared=now.declared,
            observed=None if untold else now.observed,
            applied=None if last is None else (last.declared, last.observed),
            asked=asked,
            recorded=applied is not None,
        )
    )


def _why(item: Item, status: Status, applied: Applied | None) -> str | None:
    if status is Status.OK:
        return None
    parts = [item.why] if item.why else []
    if status is Status.PENDING and applied is None:
        parts.append("nothing was applied to this host yet")
    elif status is Status.CONFLICT:
        parts.append("the file and the host have both changed")
    elif status is Status.UNKNOWN and not item.why:
        parts.append("neither the file nor the host has changed since it was applied")
    return "; ".join(parts) or None
