"""Networks and machines as rows: libvirt's state, the lab file, and what the tag says was applied."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.drift.verdict import Sides, combined, verdict
from labrun.tasks.provision.applied_tag import APPLIED, digest_of, recall
from labrun.tasks.provision.driver import ObservedMachine
from labrun.tasks.provision.filters import FilterPlan
from labrun.tasks.provision.machine_plan import MachinePlan
from labrun.tasks.provision.network_state import NetworkPlan, ObservedNetwork
from labrun.tasks.provision.planning import LabPlan, PlannedMachine

__all__ = ["lab_rows"]

Changes = Mapping[str, tuple[str, str]]
_GONE = "there is none, although labrun has made one"
# Settings whose value is a list of words: only the words that differ are shown.
_LISTS = frozenset({"nics", "reservations", "dns"})


def lab_rows(plan: LabPlan, digest: str, made: Collection[str]) -> Iterator[Outcome]:
    """Yield a row per filter, network and machine of the plan.

    ``digest`` is the lab file's; ``made`` names the hosts that labrun is known to have made: a deleted
    machine has no tag left to say so.
    """
    applied = any(
        item.seen.machine.tag is not None and item.seen.machine.tag.digest == digest
        for item in plan.machines
        if item.seen is not None
    )
    for each, todo in plan.filters:
        yield _filter(each.name, todo, applied=applied)
    for spec, found in plan.networks:
        plugged = any(
            spec.full_name in item.seen.machine.settings.get("nics", "")
            for item in plan.machines
            if item.seen is not None
        )
        yield _network(spec.name, found, digest, plugged=plugged)
    for item in plan.machines:
        yield _machine(item, digest, was_made=item.spec.host in made)


def _filter(name: str, found: FilterPlan, *, applied: bool) -> Outcome:
    """Judge a filter, which has no tag: if this very file was applied, the change came from outside."""
    if found.action == "none":
        return Outcome(HYPERVISOR, "filter", name, Status.OK, "as in the file", "as declared")
    status = Status.DRIFTED if applied else Status.PENDING
    actual = "absent" if found.action == "create" else "other rules"
    return Outcome(HYPERVISOR, "filter", name, status, "as in the file", actual, None, found.diff())


def _network(name: str, found: NetworkPlan, digest: str, *, plugged: bool) -> Outcome:
    if found.action == "create":
        return _absent(HYPERVISOR, "network", name, "machines are plugged into it" if plugged else None)
    return _row(HYPERVISOR, "network", name, found, found.observed, digest)


def _machine(item: PlannedMachine, digest: str, *, was_made: bool) -> Outcome:
    host = item.spec.host
    if item.seen is None:
        return _absent(host, "machine", host, "its host key is on record" if was_made else None)
    machine = item.seen.machine
    row = _row(host, "machine", host, item.plan, machine, digest)
    if machine.state == "running":
        return row
    status = combined([row.status, Status.DRIFTED])
    diff = "\n".join(filter(None, [row.diff, f"- state: {machine.state}\n+ state: running"]))
    settings = item.plan.changes
    expected = ", ".join(filter(None, ["running", row.expected if settings else None]))
    actual = ", ".join(filter(None, [machine.state, row.actual if settings else None]))
    return Outcome(host, "machine", host, status, expected, actual, row.why, diff)


def _absent(host: str, section: str, name: str, trace: str | None) -> Outcome:
    if trace is None:
        why = "it was not made yet: `labrun up` makes it"
        return Outcome(host, section, name, Status.PENDING, "as in the file", "absent", why)
    return Outcome(host, section, name, Status.DRIFTED, "as in the file", "absent", f"{_GONE}: {trace}")


def _row(
    host: str,
    section: str,
    name: str,
    plan: NetworkPlan | MachinePlan,
    observed: ObservedNetwork | ObservedMachine | None,
    digest: str,
) -> Outcome:
    if not plan.changes or observed is None:
        return Outcome(host, section, name, Status.OK, "as in the file", "as declared")
    verdicts = _verdicts(plan.changes, observed, digest)
    status = combined(verdicts.values())
    pairs = {key: _shown(key, now, wanted) for key, (now, wanted) in plan.changes.items()}
    expected = ", ".join(f"{key} {wanted}" for key, (_, wanted) in pairs.items())
    actual = ", ".join(f"{key} {now}" for key, (now, _) in pairs.items())
    return Outcome(host, section, name, status, expected, actual, _why(status, verdicts), plan.diff())


def _verdicts(
    changes: Changes, observed: ObservedNetwork | ObservedMachine, digest: str
) -> dict[str, Status]:
    tag = observed.tag
    last = recall(tag.extra.get(APPLIED, "")) if tag is not None else {}
    found = {}
    for key, (now, wanted) in changes.items():
        applied = last.get(key)
        if applied is not None:
            # A change to the running object may not show in the definition that is compared.
            here = {digest_of(value) for value in (now, observed.live.get(key, now))}
            moved = next(iter(here - {applied}), applied)
            found[key] = verdict(Sides(False, digest_of(wanted), moved, (applied, applied)))
        elif tag is not None and tag.digest == digest:
            # Earlier versions kept only the file's hash: the file is unchanged.
            found[key] = Status.DRIFTED
        else:
            found[key] = Status.UNKNOWN
    return found


def _why(status: Status, verdicts: Mapping[str, Status]) -> str | None:
    if status is Status.UNKNOWN:
        return "an earlier labrun made it and did not keep what it was: the file or somebody has changed it"
    if status is not Status.CONFLICT:
        return None
    moved = [key for key, each in verdicts.items() if each in (Status.DRIFTED, Status.CONFLICT)]
    asked = [key for key, each in verdicts.items() if each in (Status.PENDING, Status.CONFLICT)]
    if not asked:
        return None
    return f"changed by hand: {', '.join(moved) or 'its state'}; changed in the file: {', '.join(asked)}"


def _shown(key: str, now: str, wanted: str) -> tuple[str, str]:
    """Return the differing parts of both values."""
    if key not in _LISTS:
        return now or "none", wanted or "none"
    have, want = now.split(), wanted.split()
    less = " ".join(word for word in have if word not in want)
    more = " ".join(word for word in want if word not in have)
    if not less and not more:
        return "in another order", "as in the file"
    return less or f"without {more}", more or f"without {less}"
