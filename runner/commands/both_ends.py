"""The second attempt of `configure`: hosts that a link's change would cut off change together with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import THREADS
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout
from labrun.runner.engine.session import Session

if TYPE_CHECKING:
    from nornir.core.task import MultiResult

    from labrun.tasks.configure.behind import Behind
    from labrun.tasks.configure.together import Cuts, Together

__all__ = ["changed_together", "cuts_of", "parts", "with_earlier"]


def cuts_of(session: Session, rollout: Rollout, confirm: int | None, *, dry_run: bool) -> Cuts | None:
    """Return where a run notes whom its changes cut off; None for a run that makes no second attempt.

    Hosts change together in one process, under the guard, and where no host has to be held back.
    """
    from labrun.tasks.configure.together import Cuts

    is_plain = (rollout.canary, rollout.max_fail) == (None, None)
    return Cuts() if is_plain and confirm and not dry_run and session.invocation.engine == THREADS else None


def changed_together(
    session: Session,
    cuts: Cuts,
    budget: Budget,
    data: Mapping[str, Mapping[str, Any]],
    carried: Mapping[str, Sequence[Behind]],
    words: Mapping[str, Any],
) -> dict[str, MultiResult]:
    """Change the hosts that ``cuts`` has left together with those that lead to them, and return the results.

    ``data`` and ``words`` are the hosts' data and the keywords of the task, as in the first attempt,
    ``carried`` are the hosts that each host leads to. The result of a host that would have changed alone once
    more is not among them: that of its first attempt stands. So does that of hosts two of which are of one
    redundancy group.
    """
    from labrun.tasks.configure.task import configure
    from labrun.tasks.configure.together import TOGETHER, AloneError, Together

    results: dict[str, MultiResult] = {}
    for cut in parts(cuts.left()):
        hosts = list(dict.fromkeys([*cut, *(name for names in cut.values() for name in names)]))
        members = [group for host, group in budget.rollout.groups.items() if host in hosts]
        if len(members) > len(set(members)):
            # Two hosts of a redundancy group never change at the same time.
            continue
        leading = {
            host: [each["name"] for each in carried.get(host, ()) if each["name"] in hosts] for host in hosts
        }
        together = Together(leading)
        again = replace(
            budget,
            workers=max(budget.workers, len(hosts)),
            rollout=ALL_AT_ONCE,
            settled=partial(_ended, together),
        )
        both = {host: {**data[host], TOGETHER: together} for host in hosts}
        with session.engine(session.locate(), again, both, hosts=hosts, watched=True) as nornir:
            found = nornir.run(configure, **words)
        results |= {
            host: result for host, result in found.items() if not isinstance(result[0].exception, AloneError)
        }
    return results


def with_earlier(earlier: Sequence[Outcome], rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows of a run. What the first attempt has changed counts as changed."""
    changed = {(row.host, row.section, row.name): row for row in earlier if row.status is Status.CHANGED}
    return [
        changed.get((row.host, row.section, row.name), row) if row.status is Status.OK else row
        for row in rows
    ]


def _ended(together: Together, host: str, _result: MultiResult) -> None:
    together.end(host)


def parts(cut: Mapping[str, frozenset[str]]) -> list[dict[str, frozenset[str]]]:
    """Return the hosts that each host cut off, in parts that have no host in common."""
    found: list[dict[str, frozenset[str]]] = []
    for host, names in cut.items():
        mine = {host: names}
        touched = [part for part in found if _hosts(part) & _hosts(mine)]
        found = [part for part in found if part not in touched]
        for part in touched:
            mine |= part
        found.append(mine)
    return found


def _hosts(part: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(part).union(*part.values())
