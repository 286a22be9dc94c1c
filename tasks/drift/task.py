"""The Nornir tasks of drift: one script per host, and the host's log if something is off."""

from __future__ import annotations

from dataclasses import dataclass

from nornir.core.task import Result, Task

from labrun.progress import report
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.schedule import seconds_for
from labrun.tasks.collect.script import collect_probes
from labrun.tasks.collect.task import later_rounds, raw_capture
from labrun.tasks.configure.plan import Json
from labrun.tasks.configure.resources import probes
from labrun.tasks.drift.journal import journal_script, read_journal
from labrun.tasks.guest.facts.applied import PROBE as APPLIED
from labrun.tasks.guest.inside import host_transport
from labrun.tasks.guest.shell import Probe, gather_script, marker

__all__ = ["SPEC", "DriftSpec", "drift_probes", "drift_script", "observe", "read_log"]

SPEC = "drift"
"""The key of ``host.data`` that holds the :class:`DriftSpec`."""

_LOG_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class DriftSpec:
    """What drift compares on one host: the settings (host_spec), and what verify observes."""

    configure: Json
    verify: CollectSpec


def observe(task: Task) -> Result:
    """Read everything on one host that drift compares; the result is a plain dict for ``captures_of``.

    Changes nothing in the guest. Raises a TransportError if the guest cannot be used.
    """
    host = task.host.name
    spec: DriftSpec = task.host.data[SPEC]
    report(host, "connecting")
    transport = host_transport(task.host)
    verify = spec.verify.without_settings()
    report(host, "reading", f"{len(verify.traces)} traces, {len(verify.pings)} pings")
    mark = marker()
    script = drift_script(spec.configure, verify, mark)
    done = transport.run(script, timeout=seconds_for(verify), sudo=True)
    first = raw_capture(verify, mark, done)
    later = list(later_rounds(host, transport, verify, first))
    return Result(host=task.host, changed=False, result={**first, "later": later})


def read_log(task: Task, since: dict[str, float], user: dict[str, str], key: str) -> Result:
    """Read the host's log from when it last matched the lab file; the result is a ``Logged``.

    ``since`` is by host, in seconds since the epoch; a later apply on the host replaces it. ``user`` is the
    account that labrun logs in with, ``key`` the fingerprint of its key.
    """
    host = task.host.name
    report(host, "log")
    mark = marker()
    script = journal_script(since.get(host, 0.0), mark)
    done = host_transport(task.host).run(script, timeout=_LOG_TIMEOUT, sudo=True)
    return Result(host=task.host, changed=False, result=read_journal(done.stdout, mark, user[host], key))


def drift_script(configure: Json, verify: CollectSpec, mark: str) -> str:
    """Return the shell text for a host's spec of ``configure`` (host_spec) and of ``verify`` (collect_spec).

    Facts that both need are read once; verify's settings are those of configure.
    """
    return gather_script(drift_probes(configure, verify), mark)


def drift_probes(configure: Json, verify: CollectSpec) -> list[Probe]:
    """Return the probes of :func:`drift_script`, in the order they run."""
    return [APPLIED, *probes(configure), *collect_probes(verify.without_settings())]
