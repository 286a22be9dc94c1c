"""Others on the lab's networks that answer for the hypervisor's addresses, among the rows of `drift`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labrun.outcome import Outcome, Status
from labrun.runner.engine.session import Session

__all__ = ["claimed", "with_claims"]


def claimed(session: Session) -> list[Outcome]:
    """Return a failed row for each network of the session's lab on which somebody has such an address.

    Raises HypervisorError.
    """
    if not session.lab.needs_hypervisor:
        return []
    from labrun.tasks.provision.gateway_claims import claim_rows
    from labrun.tasks.provision.several_plans import labelled

    return [
        row
        for member in session.members()
        for row in labelled(claim_rows(member.part, member.uri), member.label)
    ]


def with_claims(rows: Sequence[Outcome], claims: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows of a comparison, where a network that somebody has an address on is ``drifted``.

    A network has one row: what else is wrong with it comes first. A network that runs as declared has none of
    its own where nothing looks at it, and gets one.
    """
    by_item = {(row.host, row.section, row.name): row for row in claims}
    found = []
    for row in rows:
        claim = by_item.pop((row.host, row.section, row.name), None)
        found.append(row if claim is None else _both(row, claim))
    return found + [replace(claim, status=Status.DRIFTED) for claim in by_item.values()]


def _both(row: Outcome, claim: Outcome) -> Outcome:
    status = Status.DRIFTED if row.status is Status.OK else row.status
    return replace(row, status=status, why="; ".join(filter(None, (row.why, claim.why))))
