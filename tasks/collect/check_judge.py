"""Rows for declared checks: the result, weighed against whether the source could try at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.check_instance import ACCEPTED, CheckInstance
from labrun.inventory.topology.checks import expected_text, instances_of, meets
from labrun.inventory.topology.expectations import Expectations
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.reach import Connection, Verdict, reach
from labrun.inventory.topology.wiring import wiring
from labrun.outcome import Outcome, Pair, Status
from labrun.tasks.collect.blocked import proven_drop
from labrun.tasks.collect.capture import Capture, Ping, Trace, Unreachable
from labrun.tasks.collect.causes import Cause, Shown, cause_of_drop, not_asked
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.checks import CheckResult, is_met
from labrun.tasks.collect.traces import Judged, path_row
from labrun.tasks.judging import guarded

__all__ = ["check_rows", "unmet"]


def unmet(specs: Sequence[CheckSpec], capture: Capture) -> list[CheckSpec]:
    """Return the specs of the checks that do not match yet and may be retried."""
    return [spec for spec in specs if spec.wait and not is_met(spec, _tried(spec, capture))]


def _tried(spec: CheckSpec, capture: Capture) -> CheckResult:
    if spec.kind != "trace" or spec.to is None or spec.address is None:
        return capture.checks.get(spec.name, CheckResult("error", "not tried", "the check was not run"))
    key = spec.to, spec.address.version
    return traced(spec.via, capture.traces.get(key), capture.pings.get(key))


def check_rows(shown: Shown, found: Expectations, host: str) -> Iterator[Outcome]:
    """Yield one row for each check that runs on a host, in file order."""
    for trial in instances_of(shown.lab, host):
        check = trial.check
        (judged,) = guarded(
            host, partial(_verdicts, shown, found, trial), lambda why: [Judged(Status.UNKNOWN, None, why)]
        )
        is_mild = judged.status is Status.FAILED and check.level == "warning"
        yield Outcome(
            host,
            "check",
            trial.name,
            Status.WARNING if is_mild else judged.status,
            expected_text(check),
            judged.actual,
            judged.why,
            subject=_pair(trial),
            blamed=judged.blamed,
            fault=judged.fault,
            due_to=judged.due_to,
        )


def _pair(trial: CheckInstance) -> Pair | None:
    if trial.target is None:
        return None
    six = trial.address is not None and trial.address.version == 6
    return Pair(trial.source, trial.target, 6 if six else 4)


def _verdicts(shown: Shown, found: Expectations, trial: CheckInstance) -> list[Judged]:
    return [_verdict(shown, found, trial)]


def _verdict(shown: Shown, found: Expectations, trial: CheckInstance) -> Judged:
    capture = shown.capture(trial.source)
    if capture is None:
        silence: Unreachable = shown.silence(trial.source) or not_asked(trial.source)
        return Judged(silence.status, None, silence.reason)
    if capture.out_of_band is not None and not _is_tried(trial, capture):
        return Judged(capture.out_of_band.status, None, capture.out_of_band.reason)
    if trial.check.to is not None and trial.address is None:
        apart = wiring(shown.lab, 4).apart(trial.source, trial.target) if trial.target else None
        why = apart or "its address is not in the lab file"
        return Judged(Status.UNKNOWN, None, f"{trial.target}: {why}")
    path = _path(found, trial)
    if trial.check.kind == "trace" and trial.address is not None:
        tried = _trace_of(shown.lab, trial, trial.address, capture)
    else:
        tried = capture.checks.get(trial.name, CheckResult("error", "not tried", "the check was not run"))
    if tried.seen == "silent":
        tried = _silent(shown, trial, path)
    if tried.seen == "error":
        return _not_tried(shown, trial, path, tried)
    if trial.check.expect in ("open", ACCEPTED):
        return _positive(shown, trial, path, tried)
    return _negative(shown, trial, path, tried)


def _is_tried(trial: CheckInstance, capture: Capture) -> bool:
    """Tell whether a check was carried out, or traced, on a host that was read out of band."""
    if trial.check.kind != "trace" or trial.address is None:
        return trial.name in capture.checks
    key = trial.target or "", trial.address.version
    return key in capture.traces or key in capture.pings


def _path(found: Expectations, trial: CheckInstance) -> Path | None:
    if trial.target is None or trial.address is None:
        return None
    return found.path(trial.source, trial.target, 4 if trial.address.version == 4 else 6)


def _trace_of(lab: Lab, trial: CheckInstance, address: Address, capture: Capture) -> CheckResult:
    if not any(
        address in route.prefix for route in capture.routes if route.prefix.version == address.version
    ):
        return CheckResult("error", "no route", f"no route to {address}")
    via = CheckSpec.of(lab, trial).via
    key = trial.target or "", address.version
    return traced(via, capture.traces.get(key), capture.pings.get(key))


def traced(via: Sequence[Sequence[str]], trace: Trace | None, ping: Ping | None) -> CheckResult:
    """Return the result of a trace; ``via`` are, in order, the addresses of the nodes it must pass."""
    if trace is None:
        reached = ping is not None and ping.reached
        return CheckResult("open", "open") if reached else CheckResult("filtered", "filtered")
    hops = [str(trace.answers.get(ttl, "*")) for ttl in range(1, max(trace.answers, default=0) + 1)]
    if trace.reached is None:
        return CheckResult("refused" if trace.refused else "filtered", " ".join([*hops, "*"]))
    rest = iter(hops)
    if not all(any(hop in addresses for hop in rest) for addresses in via):
        return CheckResult("wrong", " ".join(hops), "packets take another path")
    return CheckResult("open", " ".join(hops) if via else "open")


def _silent(shown: Shown, trial: CheckInstance, path: Path | None) -> CheckResult:
    """Judge unanswered UDP by the rules on the way and the sockets that the target reports."""
    port, target = trial.check.target, trial.target
    if path is not None and _drop(shown, trial, path) is not None:
        return CheckResult("filtered", "filtered")
    capture = shown.capture(target) if target is not None else None
    output = capture.facts.commands.get("listeners") if capture is not None else None
    if output is None or output.status != 0:
        return CheckResult("error", "no answer", "over UDP, no answer means open or filtered")
    ports = {line.split()[3].rpartition(":")[2] for line in output.text.splitlines() if len(line.split()) > 3}
    if port not in ports and trial.derived and trial.check.expect == "filtered":
        # The kernel of a host without a listener answers what reaches it.
        return CheckResult("filtered", "filtered")
    if port not in ports:
        # Whether the ICMP error was dropped or rate-limited (net.ipv4.icmp_ratelimit) cannot be seen.
        return CheckResult("refused", "refused", f"nothing listens on udp/{port} on {target}")
    if trial.check.expect == "open":
        return CheckResult(
            "open", "open", f"{target} listens and did not answer: a drop on the way would not show"
        )
    return CheckResult(
        "error", "no answer", f"{target} listens and did not answer: it may be open or filtered"
    )


def _not_tried(shown: Shown, trial: CheckInstance, path: Path | None, tried: CheckResult) -> Judged:
    """Judge a check that the source could not try: it proves nothing, unless the file predicts just that."""
    if trial.check.expect != "open" and tried.actual == "no route" and trial.address is not None:
        if path is not None and path.fault is not None and path.fault.node == trial.source:
            return Judged(Status.OK, tried.actual, f"by the lab file: {path.fault}")
        version = trial.address.version
        if (
            path is None
            and forwarding(shown.lab, 4 if version == 4 else 6).chosen(trial.source, trial.address) is None
        ):
            return Judged(
                Status.OK, tried.actual, f"by the lab file: {trial.source}: no route to {trial.address}"
            )
    row = path_row(shown, path) if path is not None else None
    due_to = row.status if row is not None and row.status is Status.FAILED else None
    fault = row.fault if row is not None and due_to is not None else None
    return Judged(Status.UNKNOWN, tried.actual, f"{trial.source}: {tried.why}", fault=fault, due_to=due_to)


def _positive(shown: Shown, trial: CheckInstance, path: Path | None, tried: CheckResult) -> Judged:
    if meets(trial.check.expect, tried.seen):
        return Judged(Status.OK, tried.actual, tried.why)
    if tried.seen == "wrong" or path is None:
        return Judged(Status.FAILED, tried.actual, tried.why or _reason(shown.lab, trial, tried))
    implied = _implied(shown.lab, trial)
    if path.fault is not None and not (implied is not None and implied.passes):
        return Judged(Status.FAILED, tried.actual, f"by the lab file it cannot be: {path.fault}")
    dropped = _dropped_by_file(shown.lab, trial)
    if dropped is not None and tried.seen == "filtered":
        return Judged(Status.FAILED, tried.actual, f"by the lab file it cannot be: {dropped}")
    row = path_row(shown, path)
    if row.status in (Status.FAILED, Status.UNREACHABLE):
        return Judged(row.status, tried.actual, row.why, row.blamed, row.fault)
    reason = Cause(tried.why) if tried.why else _dropped_on_the_way(shown, trial, path, tried)
    return Judged.by(Status.FAILED, tried.actual, reason or Cause(_reason(shown.lab, trial, tried)))


def _implied(lab: Lab, trial: CheckInstance) -> Verdict | None:
    """Return what the file predicts for a check's connection; None if it predicts nothing."""
    check = trial.check
    if trial.address is None or check.kind not in ("tcp", "udp"):
        return None
    proto: Literal["tcp", "udp"] = "tcp" if check.kind == "tcp" else "udp"
    return reach(lab, Connection(trial.source, trial.address, int(check.target), proto))


def _dropped_by_file(lab: Lab, trial: CheckInstance) -> str | None:
    verdict = _implied(lab, trial)
    return verdict.by if verdict is not None and not verdict.passes else None


def _dropped_on_the_way(shown: Shown, trial: CheckInstance, path: Path, tried: CheckResult) -> Cause | None:
    """Return the rule that drops a connection, according to the hosts' nftables."""
    if trial.check.kind not in ("tcp", "udp") or tried.seen != "filtered":
        return None
    return _drop(shown, trial, path)


def _drop(shown: Shown, trial: CheckInstance, path: Path) -> Cause | None:
    """Return the rule that may drop a TCP connection, or that certainly drops UDP, which has no answers."""
    verdict, port = _implied(shown.lab, trial), int(trial.check.target)
    if verdict is not None and verdict.end not in (trial.source, trial.target):
        # A port forward leads on: look for the translated packets on their path too.
        version: Literal[4, 6] = 4 if trial.address is not None and trial.address.version == 4 else 6
        path, port = paths(shown.lab, version).path(trial.source, verdict.end), verdict.port
    return (
        cause_of_drop(shown, path, port)
        if trial.check.kind == "tcp"
        else proven_drop(shown, path, port, "udp")
    )


def _reason(lab: Lab, trial: CheckInstance, tried: CheckResult) -> str:
    check, there = trial.check, trial.target or trial.address or "there"
    port = f"{check.kind}/{check.target}" if check.kind in ("tcp", "udp") else check.kind
    if tried.seen == "refused":
        verdict = _implied(lab, trial)
        if verdict is not None and verdict.passes and verdict.end != trial.target:
            # Who answers is behind the port forward, not the host that was dialled.
            behind = f"{check.kind}/{verdict.port} on {verdict.end}"
            return f"nothing listens on {behind}, to which {there} forwards {port}"
        return f"nothing listens on {port} on {there}"
    if trial.target is not None:
        return f"no answer to {port}, though {there} can be reached: something drops it"
    return f"no answer to {port} from {there}"


def _negative(shown: Shown, trial: CheckInstance, path: Path | None, tried: CheckResult) -> Judged:
    """Judge a check that should fail: it counts only if the same pair can reach each other."""
    expect = trial.check.expect
    dropped = _dropped_by_file(shown.lab, trial)
    wrong = f"it should be {expect}" + (f": {dropped}" if dropped is not None else "")
    if tried.seen in ("open", "wrong"):
        return Judged(Status.FAILED, tried.actual, wrong)
    status = Status.OK if meets(expect, tried.seen) else Status.FAILED
    why = tried.why if status is Status.OK else wrong
    if status is Status.OK and dropped is not None and tried.seen == "filtered" and not trial.derived:
        why = f"by the lab file: {dropped}"
    if trial.check.kind == "exec":
        return Judged(status, tried.actual, why)
    if path is None:
        if tried.seen == "refused":
            return Judged(status, tried.actual, why)
        return Judged(
            Status.UNKNOWN, tried.actual, "no answer, and nothing else shows that it can be reached"
        )
    row = path_row(shown, path)
    if row.status is Status.OK and path.fault is not None:
        return Judged(status, tried.actual, f"by the lab file: {path.fault}")
    if row.status is Status.OK:
        drop = _dropped_on_the_way(shown, trial, path, tried) if status is Status.FAILED else None
        return Judged(status, tried.actual, why) if drop is None else Judged.by(status, tried.actual, drop)
    lost = Status.UNREACHABLE if row.status is Status.UNREACHABLE else Status.UNKNOWN
    why, due_to = f"inconclusive: {row.name}: {row.why}", row.status if lost is Status.UNKNOWN else None
    return Judged(lost, tried.actual, why, fault=row.fault, due_to=due_to)
