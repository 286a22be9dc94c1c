"""Rows for networks that span hypervisors: whether full segments get from one hypervisor to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.segments import SegmentTrial
from labrun.outcome import Fault, Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import Shown, cause, cause_of_drop, not_asked
from labrun.tasks.collect.nic_causes import small_links
from labrun.tasks.collect.segments import SegmentTry
from labrun.tasks.collect.traces import Judged
from labrun.tasks.judging import guarded
from labrun.tasks.state.sections import PATH

__all__ = ["segment_rows"]


def segment_rows(
    lab: Lab, captures: Mapping[str, Capture | Unreachable], trials: Iterable[SegmentTrial]
) -> list[Outcome]:
    """Return a row ``path`` per trial, named ``A -> B: full segments on NETWORK``, of the sending host."""
    shown = Shown(lab, captures)
    return [_row(shown, trial) for trial in trials]


def _row(shown: Shown, trial: SegmentTrial) -> Outcome:
    (judged,) = guarded(
        trial.source, partial(_verdicts, shown, trial), lambda why: [Judged(Status.UNKNOWN, None, why)]
    )
    return Outcome(
        trial.source,
        PATH.name,
        f"{trial.source} -> {trial.target}: full segments on {trial.network}",
        judged.status,
        f"{trial.size} bytes",
        judged.actual,
        judged.why,
        blamed=judged.blamed,
        fault=judged.fault,
    )


def _verdicts(shown: Shown, trial: SegmentTrial) -> Iterator[Judged]:
    capture = shown.capture(trial.source)
    if capture is None or capture.out_of_band is not None:
        silence = shown.silence(trial.source) or not_asked(trial.source)
        yield Judged(silence.status, None, silence.reason, fault=silence.fault(trial.source))
        return
    tried = capture.segments.get((trial.network, trial.target))
    if tried is None:
        yield Judged(Status.UNKNOWN, None, "it was not tried")
    elif tried.ping is not None and 0 < tried.ping < trial.payload:
        yield _too_small(shown, trial, trial.size - trial.payload + tried.ping)
    elif tried.stream == "arrived":
        yield Judged(Status.OK, f"{trial.size} bytes", None)
    elif tried.stream == "untried":
        yield Judged(Status.SKIPPED, None, f"{trial.source} has no {tried.missing}: TCP was not tried")
    elif tried.stream == "refused":
        why = f"nothing listens on tcp/{trial.port} on {trial.target}: full segments were not tried"
        yield Judged(Status.SKIPPED, None, why)
    elif tried.ping:
        yield _broken(shown, trial, tried)
    else:
        yield _nothing(shown, trial)


def _between(trial: SegmentTrial) -> str:
    return " and ".join(trial.between or (trial.source, trial.target))


def _too_small(shown: Shown, trial: SegmentTrial, largest: int) -> Judged:
    """Judge packets that only get through if they are small: a NIC's MTU, or that of the way between."""
    actual = f"{largest} bytes"
    found = next(small_links(shown, (trial.source, trial.target), trial.size), None)
    if found is not None:
        return Judged(Status.FAILED, actual, found.text, found.at, found.fault)
    what = f"the MTU between {_between(trial)} is too small for {trial.network}"
    what += f": {largest} of {trial.size} bytes get through"
    seen = ""
    if trial.between:
        seen = f" (on {trial.between[0]}: `ip -d link show {trial.device}`, and the ways to its peers)"
    return Judged(Status.FAILED, actual, what + seen, fault=Fault(None, what))


def _broken(shown: Shown, trial: SegmentTrial, tried: SegmentTry) -> Judged:
    """Judge TCP that gets lost where a ping of the same size gets through."""
    path = expectations(shown.lab).path(trial.source, trial.target, 6 if trial.address.version == 6 else 4)
    if tried.stream == "silent" and (rule := cause_of_drop(shown, path, trial.port)) is not None:
        return Judged.by(Status.FAILED, "no connection", rule)
    actual = "no connection" if tried.stream == "silent" else "TCP is lost"
    what = f"pings of {trial.size} bytes get to {trial.target}, and TCP does not"
    what += f": the checksum offload between {_between(trial)} is broken"
    device = _device(shown, trial)
    by_hand = (f"ethtool -K {device} tx off",) if device else ()
    there = f"; or on {trial.between[0]}: `ethtool -K {trial.device} tx off`" if trial.between else ""
    said = f"{trial.source}: {what}" + (f" (`{by_hand[0]}`{there})" if by_hand else "")
    fault = Fault(trial.source, what, by_hand=by_hand)
    return Judged(Status.FAILED, actual, said, trial.source, fault)


def _device(shown: Shown, trial: SegmentTrial) -> str:
    capture = shown.capture(trial.source)
    nics = (nic for nic in shown.lab.hosts[trial.source].interfaces if nic.network == trial.network)
    links = (capture.links.get(nic.mac) for nic in nics) if capture is not None else ()
    return next((link.name for link in links if link is not None), "")


def _nothing(shown: Shown, trial: SegmentTrial) -> Judged:
    """Judge a target that answers neither pings nor TCP: the path's own row says the same."""
    silence = shown.silence(trial.target)
    if silence is not None:
        fault = silence.fault(trial.target)
        return Judged(silence.status, None, f"{trial.target}: {silence.reason}", fault=fault)
    path = expectations(shown.lab).path(trial.source, trial.target, 6 if trial.address.version == 6 else 4)
    found = cause(shown, path)
    if found is not None:
        return Judged.by(Status.FAILED, "no answer", found)
    what = f"{trial.target} answers neither pings nor TCP"
    return Judged(Status.FAILED, "no answer", what)
