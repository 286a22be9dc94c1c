"""Rows for the hypervisor's forwarded ports: what a try from the hypervisor showed, and why it failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.hypervisor_forwards import ForwardTrial, forward_trials, forward_verdict
from labrun.inventory.topology.reach import Verdict
from labrun.inventory.topology.wiring import Attachment, Version, wiring
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import Shown
from labrun.tasks.collect.filter_causes import Passage, dropped, not_forwarded
from labrun.tasks.collect.nic_causes import CAUSE, SILENT, Finding, nic_findings
from labrun.tasks.collect.traces import Judged
from labrun.tasks.collect.ways import wrong_way
from labrun.tasks.judging import guarded
from labrun.tasks.state.sections import FORWARD

__all__ = ["TriedForward", "expected_forwards", "forward_rows", "untried_forward"]

_EXPECTED = "open"


@dataclass(frozen=True, slots=True)
class TriedForward:
    """What a connection to a forwarded port showed.

    ``seen`` is ``open``, ``refused``, ``filtered``, ``silent`` (UDP without an answer), ``lost`` (what
    forwards it is not as it should be) or ``error`` (it could not be tried); ``why`` goes with the last two.
    ``client`` is the address from which the host at the other end sees it come.
    """

    seen: Literal["open", "refused", "filtered", "silent", "lost", "error"]
    client: Address | None = None
    why: str = ""


def expected_forwards(lab: Lab, hosts: Sequence[str] | None = None) -> Iterator[ForwardTrial]:
    """Yield the forwarded ports that lead to one of these hosts, or to nobody's address."""
    yield from (t for t in forward_trials(lab) if hosts is None or t.host is None or t.host in hosts)


def untried_forward(trial: ForwardTrial, why: str) -> Outcome:
    """Return the row of a port that nobody was to try."""
    return Outcome(HYPERVISOR, FORWARD.name, trial.name, Status.SKIPPED, _EXPECTED, None, why)


def forward_rows(
    lab: Lab,
    captures: Mapping[str, Capture | Unreachable],
    tried: Mapping[ForwardTrial, TriedForward],
) -> list[Outcome]:
    """Return one row for each forwarded port that was tried, or could not be."""
    shown = Shown(lab, captures)
    return [_row(shown, trial, seen) for trial, seen in tried.items()]


def _row(shown: Shown, trial: ForwardTrial, seen: TriedForward) -> Outcome:
    (judged,) = guarded(
        trial.host or HYPERVISOR,
        partial(_verdicts, shown, trial, seen),
        lambda why: [Judged(Status.UNKNOWN, seen.seen, why)],
    )
    return Outcome(
        HYPERVISOR,
        FORWARD.name,
        trial.name,
        judged.status,
        _EXPECTED,
        judged.actual,
        judged.why,
        blamed=judged.blamed,
        fault=judged.fault,
    )


def _verdicts(shown: Shown, trial: ForwardTrial, tried: TriedForward) -> list[Judged]:
    return [_verdict(shown, trial, tried)]


def _verdict(shown: Shown, trial: ForwardTrial, tried: TriedForward) -> Judged:
    if tried.seen == "error":
        return Judged(Status.UNKNOWN, "not tried", tried.why)
    if tried.seen == "lost":
        return Judged(Status.FAILED, "closed", tried.why)
    if tried.seen == "open":
        return Judged(Status.OK, "open", None)
    verdict = forward_verdict(shown.lab, trial, tried.client) if tried.client is not None else None
    end, port = (verdict.end, verdict.port) if verdict is not None else (trial.host, trial.forward.to_port)
    where = f"{trial.forward.proto}/{port} on {end or trial.to}"
    if tried.seen == "silent":
        return _silent(shown, trial, tried, verdict, end, port)
    silence = shown.silence(end) if end is not None else None
    if silence is not None and (end is None or shown.capture(end) is None):
        return Judged(silence.status, tried.seen, f"{end}: {silence.reason}")
    if verdict is not None and not verdict.passes:
        return Judged(Status.FAILED, tried.seen, f"by the lab file it cannot be: {verdict.by}")
    found = _cause(shown, trial, tried, verdict)
    if found is not None:
        return Judged(Status.FAILED, tried.seen, found.text, found.at, found.fault)
    through = f", to which {trial.host} forwards it" if end != trial.host else ""
    if tried.seen == "refused":
        # Only what was let through can be refused there: the port itself is forwarded.
        return Judged(Status.WARNING, "refused", f"nothing listens on {where}{through}")
    lost = "something drops it" if end is not None else "no host of the lab has that address"
    return Judged(Status.FAILED, tried.seen, f"no answer from {where}{through}: {lost}")


def _silent(
    shown: Shown,
    trial: ForwardTrial,
    tried: TriedForward,
    verdict: Verdict | None,
    end: str | None,
    port: int,
) -> Judged:
    """Judge unanswered UDP by the sockets of the host at the end."""
    if verdict is not None and not verdict.passes:
        return Judged(Status.FAILED, "no answer", f"by the lab file it cannot be: {verdict.by}")
    silence, capture = (shown.silence(end), shown.capture(end)) if end is not None else (None, None)
    if silence is not None and capture is None:
        return Judged(silence.status, "no answer", f"{end}: {silence.reason}")
    if (found := _cause(shown, trial, tried, verdict)) is not None:
        return Judged(Status.FAILED, "no answer", found.text, found.at, found.fault)
    output = capture.facts.commands.get("listeners") if capture is not None else None
    if output is None or output.status != 0:
        return Judged(Status.UNKNOWN, "no answer", "over UDP no answer can be open or filtered")
    sockets = (line.split() for line in output.text.splitlines())
    if str(port) not in {words[3].rpartition(":")[2] for words in sockets if len(words) > 3}:
        return Judged(Status.WARNING, "refused", f"nothing listens on udp/{port} on {end}")
    why = f"{end} listens and did not answer: a drop on the way would not show"
    return Judged(Status.OK, "open", why)


def _cause(shown: Shown, trial: ForwardTrial, tried: TriedForward, verdict: Verdict | None) -> Finding | None:
    """Return the fault at the host that the port leads to, or at the one that this leads on to."""
    if tried.client is None or trial.host is None:
        return None
    version: Version = 4 if trial.to.version == 4 else 6
    turned = verdict is not None and verdict.end != trial.host
    found = list(_at_the_host(shown, trial, tried.client, version, turned=turned))
    if verdict is not None and turned:
        found += _behind(shown, verdict, version)
    if tried.seen == "refused":
        # Somebody has answered: only a rule that rejects can be the reason.
        found = [each for each in found if "reject" in each.what]
    return min((each for each in found if each.rank < SILENT), key=lambda each: each.rank, default=None)


def _at_the_host(
    shown: Shown, trial: ForwardTrial, client: Address, version: Version, *, turned: bool
) -> Iterator[Finding]:
    host, capture = trial.host or "", shown.capture(trial.host or "")
    if capture is None:
        silence = shown.silence(host)
        if silence is not None:
            yield Finding(CAUSE, silence.reason, host)
        return
    own = next((each for each in wiring(shown.lab, version).of[host] if each.address == trial.to), None)
    if own is None:
        return
    yield from _of_nic(shown, host, capture, own, client)
    leaves = None
    if turned:
        forwards = Passage(host, capture, client, trial.to, own.name, own.name)
        yield from not_forwarded(shown, forwards)
        leaves = own.name
    port = trial.forward.to_port if trial.forward.proto == "tcp" else 0
    if not turned:
        yield from dropped(shown, Passage(host, capture, client, trial.to, own.name, leaves, port=port))


def _of_nic(shown: Shown, host: str, capture: Capture, own: Attachment, client: Address) -> Iterator[Finding]:
    link = capture.links.get(own.nic.mac)
    yield from nic_findings(host, capture, own, link)
    expected = forwarding(shown.lab, 4 if client.version == 4 else 6).chosen(host, client)
    if link is not None and link.is_up and expected is not None:
        back = Passage(host, capture, own.address, client, None, expected.nic)
        device = next(
            (
                found.name
                for nic in shown.lab.hosts[host].interfaces
                if nic.name == expected.nic and (found := capture.links.get(nic.mac)) is not None
            ),
            link.name,
        )
        yield from wrong_way(shown, back, expected, device, back=True)


def _behind(shown: Shown, verdict: Verdict, version: Version) -> Iterator[Finding]:
    """Yield the faults of the NICs of the host that a router of the lab leads on to."""
    capture = shown.capture(verdict.end)
    if capture is not None:
        for own in wiring(shown.lab, version).of[verdict.end]:
            yield from nic_findings(verdict.end, capture, own, capture.links.get(own.nic.mac))
