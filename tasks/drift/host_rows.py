"""The configuration of one host as rows: what it holds, what the file asks, what was last applied."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.outcome import Outcome, Status
from labrun.tasks.configure.applied import Applied, fingerprint, read_applied
from labrun.tasks.configure.plan import Item, Json
from labrun.tasks.configure.resources import plan_host, row_names
from labrun.tasks.configure.shell import Facts
from labrun.tasks.drift.verdict import Sides, verdict

__all__ = ["host_rows", "silent_rows"]


def host_rows(spec: Json, facts: Facts) -> Iterator[Outcome]:
    """Yield a row for everything that ``configure`` holds true on this host, in its order."""
    applied = read_applied(facts)
    asked = frozenset(row_names(spec))
    for part in plan_host(spec, facts).sections:
        for item in part.items:
            key = (part.section, item.name)
            status = _verdict(item, key, applied, asked=key in asked)
            why = _why(item, status, applied)
            diff = None if status is Status.OK else item.diff
            yield Outcome(spec["host"], *key, status, item.expected, item.actual, why, diff)


def silent_rows(spec: Json, status: Status, why: str) -> Iterator[Outcome]:
    """Yield the rows of a host that shows nothing: none of them is missing."""
    for section, name in row_names(spec):
        yield Outcome(spec["host"], section, name, status, why=why)


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
