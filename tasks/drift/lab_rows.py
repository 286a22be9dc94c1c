"""Filters, networks and machines as rows: libvirt's state, the lab file, and what was applied."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.ownership import Tag
from labrun.tasks.provision.network_settings import HEALTH
from labrun.tasks.provision.objects import Plan, Planned
from labrun.tasks.provision.owned import applied_of
from labrun.tasks.provision.planning import LabPlan, PlannedMachine
from labrun.tasks.provision.rows import AS_DECLARED, AS_IN_FILE
from labrun.tasks.state.fingerprint import Fingerprint, digest_of
from labrun.tasks.state.item import Item
from labrun.tasks.state.verdict import Verdict, combined, verdict

__all__ = ["lab_rows"]

_GONE = "it is gone, although labrun created it"
# Settings whose value is a list of words: only the words that differ are shown.
_LISTS = frozenset({"nics", "reservations", "dns"})


def lab_rows(plan: LabPlan, digest: str, made: Collection[str]) -> Iterator[Outcome]:
    """Yield a row per filter, network and machine of the plan.

    ``digest`` is the lab file's; ``made`` names the hosts that labrun is known to have made: a deleted
    machine has no tag left to say so.
    """
    there = [item.seen.machine for item in plan.machines if item.seen is not None]
    applied = any(each.tag is not None and each.tag.digest == digest for each in there)
    nics = " ".join(each.defined.get("nics", "") for each in there)
    for each in plan.filters:
        yield _rules(each.plan, "filter", applied=applied)
    for each in plan.forwards:
        yield _rules(each.plan, "forward", applied=applied)
    for each in plan.tunnels:
        yield _rules(each.plan, "tunnel", applied=applied)
    for name in plan.extra_tunnels:
        why = "the network no longer spans hypervisors: `labrun up` removes it"
        yield Outcome(HYPERVISOR, "tunnel", name, Status.PENDING, "absent", "there", why)
    for each in plan.networks:
        yield _network(each, digest, plugged=each.spec.full_name in nics)
    renamed = plan.renamed
    for item in plan.machines:
        if item.seen is None and (stray := renamed.get(item.spec.host)):
            host = item.spec.host
            yield Outcome(host, "machine", host, Status.DRIFTED, AS_IN_FILE, "absent", stray.there)
        else:
            yield _machine(item, digest, was_made=item.spec.host in made)


def _rules(plan: Plan, section: str, *, applied: bool) -> Outcome:
    """Judge what has no tag: if this very file was applied, the change came from outside."""
    status = Status.OK
    if plan.action != "none":
        status = Status.DRIFTED if applied else Status.PENDING
    actual = {"none": AS_DECLARED, "create": "absent"}.get(plan.action, "other rules")
    if section == "tunnel" and actual == "other rules":
        actual = f"another {', '.join(plan.item.differences)}"
    return Outcome(HYPERVISOR, section, plan.item.name, status, AS_IN_FILE, actual, None, plan.item.diff)


def _network(each: Planned, digest: str, *, plugged: bool) -> Outcome:
    if each.seen is None:
        trace = "machines are plugged into it" if plugged else None
        return _absent(HYPERVISOR, "network", each.spec.name, trace)
    return _row(HYPERVISOR, "network", each.plan.item, each.seen.tag, digest)


def _machine(planned: PlannedMachine, digest: str, *, was_made: bool) -> Outcome:
    host = planned.spec.host
    if planned.seen is None:
        return _absent(host, "machine", host, "its host key is on record" if was_made else None)
    machine = planned.seen.machine
    row = _row(host, "machine", planned.plan.item, machine.tag, digest)
    if machine.state == "running":
        return row
    status = combined([row.status, Status.DRIFTED])
    diff = "\n".join(filter(None, [row.diff, f"- state: {machine.state}\n+ state: running"]))
    differs = row.status is not Status.OK
    expected = ", ".join(filter(None, ["running", row.expected if differs else None]))
    actual = ", ".join(filter(None, [machine.state, row.actual if differs else None]))
    why = "; ".join(filter(None, [row.why, machine.reason])) or None
    return Outcome(host, "machine", host, status, expected, actual, why, diff)


def _absent(host: str, section: str, name: str, trace: str | None) -> Outcome:
    if trace is None:
        why = "it does not exist yet: `labrun up` makes it"
        return Outcome(host, section, name, Status.PENDING, AS_IN_FILE, "absent", why)
    return Outcome(host, section, name, Status.DRIFTED, AS_IN_FILE, "absent", f"{_GONE}: {trace}")


def _row(host: str, section: str, item: Item, tag: Tag | None, digest: str) -> Outcome:
    if item.state == "ok":
        return Outcome(host, section, item.name, Status.OK, AS_IN_FILE, AS_DECLARED)
    found = _verdict(item, tag, digest)
    shown = {key: _shown(key, now, wanted) for key, (now, wanted) in item.differences.items()}
    expected = ", ".join(f"{key} {wanted}" for key, (_, wanted) in shown.items())
    actual = ", ".join(f"{key} {now}" for key, (now, _) in shown.items())
    return Outcome(host, section, item.name, found.status, expected, actual, _why(found), item.diff)


def _verdict(item: Item, tag: Tag | None, digest: str) -> Verdict:
    """Judge by the tag's record or, of what an earlier labrun did not record, by the lab file's digest."""
    always = {key: digest_of(item.want[key]) for key in HEALTH & item.want.keys()}
    applied = {**applied_of(tag), **{key: Fingerprint(each, each) for key, each in always.items()}}
    untold = item.differences.keys() - applied.keys()
    if tag is not None and tag.digest == digest:
        # The file is what it was, and so is what it asks for.
        hashes = {key: digest_of(item.want[key]) for key in untold}
        return verdict(item, {**applied, **{key: Fingerprint(each, each) for key, each in hashes.items()}})
    verdicts = verdict(item, applied).parts
    parts = {key: Status.UNKNOWN if key in untold else verdicts[key] for key in item.differences}
    return Verdict(combined(parts.values()), parts)


def _why(found: Verdict) -> str | None:
    if found.status is Status.UNKNOWN:
        return "an earlier labrun created it and kept no record: it was changed in the file or by hand"
    if found.status is not Status.CONFLICT:
        return None
    moved = found.moved(Status.DRIFTED, Status.CONFLICT)
    asked = found.moved(Status.PENDING, Status.CONFLICT)
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
