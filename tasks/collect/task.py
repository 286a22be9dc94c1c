"""The Nornir task that collects: one script over one exec channel, raw output back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from nornir.core.task import Result, Task

from labrun.errors import CommandError, ConnectionLostError, LabrunError, UnreadableError
from labrun.outcome import Status
from labrun.ports import Completed, Transport
from labrun.progress import report
from labrun.secrets import mask_settings
from labrun.tasks.collect.capture import Capture, RawRound, Unreachable, read_capture
from labrun.tasks.collect.check_judge import unmet
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.schedule import seconds_for
from labrun.tasks.collect.script import collect_script
from labrun.tasks.guest.inside import host_transport
from labrun.tasks.guest.shell import Captured, marker
from labrun.tasks.judging import guarded

__all__ = ["SPEC", "RawResults", "captures_of", "collect", "evidence_of", "later_rounds", "raw_capture"]

SPEC = "verify"
"""The key of ``host.data`` that holds the result of ``collect_spec``."""

RawResults: TypeAlias = Mapping[str, Mapping[str, Any] | BaseException]
"""What :func:`collect` returned or raised, by host."""
_MOST_EVIDENCE = 512 * 1024
"""The number of characters of a host's output that are kept."""
_PAUSE = 1.0
"""Seconds between two tries of a check that may wait."""


def collect(task: Task) -> Result:
    """Collect the data of one host's spec; the result is a plain dict for ``read_capture``.

    Changes nothing in the guest. Raises a TransportError if the guest cannot be used.
    """
    spec: CollectSpec = task.host.data[SPEC]
    report(task.host.name, "connecting")
    transport = host_transport(task.host)
    checks = f", {len(spec.checks)} checks" if spec.checks else ""
    report(task.host.name, "collecting", f"{len(spec.traces)} traces, {len(spec.pings)} pings{checks}")
    first = _round(transport, spec)
    later = list(later_rounds(task.host.name, transport, spec, first))
    return Result(host=task.host, changed=False, result={**first, "later": later})


def _round(transport: Transport, spec: CollectSpec) -> RawRound:
    mark = marker()
    done = transport.run(collect_script(spec, mark), timeout=seconds_for(spec), sudo=True)
    return raw_capture(spec, mark, done)


def raw_capture(spec: CollectSpec, mark: str, done: Completed) -> RawRound:
    """Return a script's output as plain data for ``read_capture``."""
    return {
        "mark": mark,
        "spec": spec,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "exit_status": done.exit_status,
        "seconds": done.seconds,
    }


def later_rounds(host: str, transport: Transport, spec: CollectSpec, first: RawRound) -> Iterator[RawRound]:
    """Retry, a second apart, the checks that may wait; yield the rounds in which one was decided."""
    since = time.monotonic()
    try:
        pending: Sequence[CheckSpec] = _unmet(host, spec.checks, first)
        while pending:
            report(host, "waiting", ", ".join(check.name for check in pending))
            time.sleep(_PAUSE)
            latest = _round(transport, _only(spec, pending))
            still = _unmet(host, pending, latest)
            waiting = [check for check in still if time.monotonic() - since < check.wait]
            if len(waiting) < len(pending):
                yield latest
            pending = waiting
    except LabrunError:
        return  # the earlier result stands


def _unmet(host: str, specs: Sequence[CheckSpec], shown: Mapping[str, Any]) -> list[CheckSpec]:
    """Return the checks that are worth a retry; an unreadable round is reported elsewhere."""
    return guarded(host, lambda: unmet(specs, read_capture(shown)), lambda _why: ())


def _only(spec: CollectSpec, checks: Sequence[CheckSpec]) -> CollectSpec:
    """Return the spec for these checks only, with the traces they need."""
    named = {check.to for check in checks if check.kind == "trace"}
    return spec.without_settings().narrowed(lambda to: to in named, tuple(checks))


def captures_of(results: RawResults) -> dict[str, Capture | Unreachable]:
    """Return each host's capture, from its raw result or the exception of its task."""
    return {host: _capture(host, result) for host, result in results.items()}


def evidence_of(result: Mapping[str, Any]) -> str:
    """Return a host's output of all rounds as text to keep: secrets masked, the same mark in each."""
    rounds = (result, *result.get("later", ()))
    parts = (_head(str(raw["stdout"])).replace(str(raw["mark"]), "labrun") for raw in rounds)
    return mask_settings(_head("".join(parts)))


def _head(text: str) -> str:
    """Return as many whole lines as are kept: a secret cut in two would not be found."""
    return text if len(text) <= _MOST_EVIDENCE else text[:_MOST_EVIDENCE].rpartition("\n")[0]


def _capture(host: str, result: Mapping[str, Any] | BaseException) -> Capture | Unreachable:
    if isinstance(result, BaseException):
        return _silence(result)
    (capture,) = guarded(host, lambda: [_all_rounds(result)], lambda why: [Unreachable(why, Status.UNKNOWN)])
    return capture


def _all_rounds(result: Mapping[str, Any]) -> Capture | Unreachable:
    try:
        capture = read_capture(result)
    except UnreadableError:
        raise
    except CommandError as error:
        # The script was cut off: the shell's last message may tell why.
        captured = Captured("", 0, str(result.get("stderr", "")))
        raise CommandError(captured.last_line if captured.error.strip() else error.reason) from error
    for each in result.get("later", ()):
        later = read_capture(each)
        capture = replace(
            capture,
            checks={**capture.checks, **later.checks},
            traces={**capture.traces, **later.traces},
            pings={**capture.pings, **later.pings},
            durations=capture.durations.and_later(later.durations),
        )
    return capture


def _silence(error: BaseException) -> Unreachable:
    if not isinstance(error, LabrunError):
        return Unreachable(f"{type(error).__name__}: {error}", Status.UNKNOWN)
    lost = isinstance(error, ConnectionLostError | UnreadableError) or error.exit_code != 4
    reason = f"{error.reason} ({error.hint})" if error.hint else error.reason
    return Unreachable(reason, Status.UNKNOWN if lost else Status.UNREACHABLE)
