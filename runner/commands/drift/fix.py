"""`labrun drift --fix`: correct only what has drifted, with `up` and `configure`, then read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labrun.outcome import Outcome, Status
from labrun.runner.cli.progress import progress
from labrun.runner.engine.session import Session
from labrun.tasks.state.sections import FILTER, FORWARD, MACHINE, NETWORK, TUNNEL, Scope, section_of

if TYPE_CHECKING:
    from labrun.tasks.provision.planning import LabPlan

__all__ = ["Fix", "Wanted", "after_fix", "apply", "choose"]

Key = tuple[str, str, str]
"""Host, section and name."""

_MOVED = frozenset({Status.PENDING, Status.CONFLICT})
_BAD = frozenset({Status.FAILED, Status.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Fix:
    """The limits of a fix: with ``apply_pending`` the file's changes too, at most ``max_changes`` items."""

    apply_pending: bool = False
    max_changes: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The corrections to make: filters, networks and machines by name, sections by host, all their items.

    ``left`` is the reason for each drifted item that is not among them.
    """

    networks: frozenset[str]
    machines: frozenset[str]
    sections: Mapping[str, tuple[str, ...]]
    items: frozenset[Key]
    left: Mapping[Key, str]
    filters: frozenset[str] = frozenset()
    forwards: frozenset[str] = frozenset()
    tunnels: frozenset[str] = frozenset()


def choose(rows: Sequence[Outcome], fix: Fix) -> Wanted:
    """Return the corrections for the given rows, as a pure function.

    Networks and machines are chosen one by one, a host's settings by section, since `configure` always
    applies a whole section. So a section that the file has changed as well is left alone unless that is
    allowed.
    """
    right = {Status.DRIFTED} | (_MOVED if fix.apply_pending else set())
    items: set[Key] = set()
    left: dict[Key, str] = {}
    sections: dict[str, list[str]] = {}
    for host, section, members in _by_section(rows):
        chosen = [row for row in members if row.status in right]
        moved = [row for row in members if row.status in _MOVED]
        of_lab = section_of(section).scope is Scope.LAB
        if not of_lab and moved and not fix.apply_pending:
            also = f"{section} {moved[0].name} is {moved[0].status} too"
            why = f"left alone: {also}; --apply-pending applies both"
            left.update({_key(row): why for row in chosen})
            continue
        items.update(_key(row) for row in chosen)
        if chosen and not of_lab:
            sections.setdefault(host, []).append(section)
    return Wanted(
        networks=frozenset(name for _, section, name in items if section == NETWORK.name),
        machines=frozenset(name for _, section, name in items if section == MACHINE.name),
        sections={host: tuple(names) for host, names in sections.items()},
        items=frozenset(items),
        left=left,
        filters=frozenset(name for _, section, name in items if section == FILTER.name),
        forwards=frozenset(name for _, section, name in items if section == FORWARD.name),
        tunnels=frozenset(name for _, section, name in items if section == TUNNEL.name),
    )


def _by_section(rows: Sequence[Outcome]) -> Iterator[tuple[str, str, list[Outcome]]]:
    by_section: dict[tuple[str, str], list[Outcome]] = {}
    for row in rows:
        # Observed results follow from the host's settings and are not corrected directly.
        follows = section_of(row.section).follows
        if not follows and (row.section, row.name) != (MACHINE.name, "ssh-host-key"):
            by_section.setdefault((row.host, row.section), []).append(row)
    for (host, section), members in by_section.items():
        yield host, section, members


def _key(row: Outcome) -> Key:
    return row.host, row.section, row.name


def apply(session: Session, wanted: Wanted) -> list[Outcome]:
    """Make the corrections, with the lab's lock held. Return the rows of `up` and `configure`."""
    rows: list[Outcome] = []
    if wanted.filters or wanted.networks or wanted.forwards or wanted.tunnels or wanted.machines:
        rows += _up(session, wanted)
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, sections in wanted.sections.items():
        groups.setdefault(sections, []).append(host)
    for sections, hosts in groups.items():
        from labrun.runner.commands.configure import configure_hosts

        rows += configure_hosts(replace(session, hosts=tuple(hosts)), sections)
    return rows


def _up(session: Session, wanted: Wanted) -> list[Outcome]:
    from labrun.runner.commands.up import carry_out, refusal
    from labrun.tasks.provision.planning import plan_lab

    if session.span is not None:
        return _up_several(session, wanted)
    whole = plan_lab(session.lab, session.uri, None)
    plan = _limited(whole, wanted, str)
    rows = refusal(session, plan)
    if not rows:
        with progress(sorted(item.spec.host for item in plan.machines), session.invocation):
            rows = carry_out(session, plan, whole.busy())
    return rows + _left(whole, wanted)


def _up_several(session: Session, wanted: Wanted) -> list[Outcome]:
    """Correct what is wanted on every hypervisor of the lab, if nothing of it would be refused."""
    from labrun.runner.commands.span_up import carry_out_several
    from labrun.runner.engine.span_plans import plan_several

    plans = plan_several(session, None)
    limited = [replace(each, plan=_limited(each.plan, wanted, each.member.label)) for each in plans]
    names = sorted(item.spec.host for each in limited for item in each.plan.machines)
    with progress(names, session.invocation):
        rows = carry_out_several(session, limited)
    return rows + [row for each in plans for row in _left(each.plan, wanted)]


def _limited(whole: LabPlan, wanted: Wanted, label: Callable[[str], str]) -> LabPlan:
    """Return the plan of what is wanted, whose names are those that ``label`` makes; no new machines."""
    names = wanted.machines - {item.spec.host for item in whole.machines if item.plan.action == "recreate"}
    return replace(
        whole,
        networks=tuple(each for each in whole.networks if label(each.spec.name) in wanted.networks),
        machines=tuple(item for item in whole.machines if item.spec.host in names),
        filters=tuple(each for each in whole.filters if label(each.spec.name) in wanted.filters),
        forwards=tuple(each for each in whole.forwards if label(each.spec.name) in wanted.forwards),
        tunnels=tuple(each for each in whole.tunnels if label(each.spec.name) in wanted.tunnels),
        extra_tunnels={},
        extra_networks={},
        extra_machines=(),
    )


def _left(whole: LabPlan, wanted: Wanted) -> list[Outcome]:
    why = "this needs a new machine: `labrun up --recreate`, and its disk is lost"
    lost = [item.spec.host for item in whole.machines if item.plan.action == "recreate"]
    return [
        Outcome(host, "machine", host, Status.SKIPPED, why=why) for host in lost if host in wanted.machines
    ]


def after_fix(
    before: Sequence[Outcome], done: Sequence[Outcome], after: Sequence[Outcome], wanted: Wanted
) -> list[Outcome]:
    """Return the rows of the second reading: ``changed`` if it was corrected, otherwise with reasons.

    An item that was to be removed and is gone has no row any more, so the row of its removal is used.
    """
    was, steps = {_key(row): row for row in before}, {_key(row): row for row in done}
    present = {_key(row) for row in after}
    rows = [_row(row, was.get(_key(row)), steps.get(_key(row)), wanted) for row in after]
    return rows + [row for key, row in steps.items() if key in wanted.items and key not in present]


def _row(row: Outcome, was: Outcome | None, step: Outcome | None, wanted: Wanted) -> Outcome:
    key = _key(row)
    if key in wanted.left and row.status is not Status.OK:
        return replace(row, why="; ".join(filter(None, [row.why, wanted.left[key]])))
    if key not in wanted.items:
        return row
    if row.status is Status.OK:
        return replace(row, status=Status.CHANGED, diff=was.diff if was is not None else None)
    if step is None or step.status in (Status.OK, Status.CHANGED):
        return row
    # A failed correction is worse than a difference, so its status wins.
    status = step.status if step.status in _BAD else row.status
    return replace(row, status=status, why=step.why or row.why)
