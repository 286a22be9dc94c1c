"""The Nornir task that collects: one script over one exec channel, raw output back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nornir.core.task import Result, Task

from labrun.errors import CommandError, ConnectionLostError, LabrunError
from labrun.outcome import Status
from labrun.progress import report
from labrun.tasks.collect.capture import Capture, Unreachable, read_capture
from labrun.tasks.collect.schedule import seconds_for
from labrun.tasks.collect.script import collect_script
from labrun.tasks.configure.shell import marker
from labrun.tasks.transport import transport_of

__all__ = ["SPEC", "captures_of", "collect"]

SPEC = "verify"
"""Under this key of ``host.data`` the task finds what ``collect_spec`` returned."""


def collect(task: Task) -> Result:
    """Collect on one host what its spec asks for; the result is a plain dict for ``read_capture``.

    Changes nothing in the guest. Raises a TransportError where the guest cannot be used.
    """
    spec = task.host.data[SPEC]
    mark = marker()
    report(task.host.name, "connecting")
    transport = transport_of(task.host)
    report(task.host.name, "collecting", f"{len(spec['traces'])} traces, {len(spec['pings'])} pings")
    done = transport.run(collect_script(spec, mark), timeout=seconds_for(spec), sudo=True)
    return Result(
        host=task.host,
        changed=False,
        result={
            "mark": mark,
            "spec": spec,
            "stdout": done.stdout,
            "stderr": done.stderr,
            "exit_status": done.exit_status,
            "seconds": done.seconds,
        },
    )


def captures_of(
    results: Mapping[str, Mapping[str, Any] | BaseException],
) -> dict[str, Capture | Unreachable]:
    """Return what each host showed, from its raw result or what its task raised."""
    return {host: _capture(host, result) for host, result in results.items()}


def _capture(host: str, result: Mapping[str, Any] | BaseException) -> Capture | Unreachable:
    if isinstance(result, BaseException):
        return _silence(result)
    try:
        return read_capture(result)
    except (CommandError, ValueError, KeyError, TypeError) as error:
        said = str(result.get("stderr", "")).strip().splitlines()
        reason = f"what {host} showed cannot be read: {said[-1] if said else error}"
        return Unreachable(reason, Status.UNKNOWN)


def _silence(error: BaseException) -> Unreachable:
    if not isinstance(error, LabrunError):
        return Unreachable(f"{type(error).__name__}: {error}", Status.UNKNOWN)
    lost = isinstance(error, ConnectionLostError) or error.exit_code != 4
    reason = f"{error.reason} ({error.hint})" if error.hint else error.reason
    return Unreachable(reason, Status.UNKNOWN if lost else Status.UNREACHABLE)
