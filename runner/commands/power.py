"""`labrun start`, `stop` and `restart`: the power switch of the lab's machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import hypervisor_engine, open_session
from labrun.runner.engine.unmanaged import existing_rows
from labrun.runner.verb import verb

_SHUTDOWN_SECONDS = 60.0
_DONE = {"start": "started", "stop": "stopped", "restart": "restarted"}


def _switch(invocation: Invocation, action: str) -> Report:
    session = open_session(invocation)
    with lab_lock(session.state.lock, action), progress(session.hosts, invocation):
        seen = session.machines()
        data = {}
        for host in session.hosts:
            found = seen.get(host)
            data[host] = {
                "power": {
                    "driver": found.kind if found else "",
                    "uri": found.uri if found else "",
                    "domain": session.lab.libvirt_name(host),
                    "state": found.machine.state if found else None,
                }
            }
        made = {host: job for host, job in data.items() if session.lab.hosts[host].address is None}
        rows = _run(session.uri, made, action, invocation.timeout or _SHUTDOWN_SECONDS) if made else []
    return session.report(rows + existing_rows(session.lab, session.hosts))


def _run(uri: str, data: Mapping[str, Mapping[str, Any]], action: str, timeout: float) -> list[Outcome]:
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.provision.power import power

    with hypervisor_engine(uri, data, until=_DONE[action]) as nornir:
        return outcomes_of(nornir.run(power, action=action, timeout=timeout), "machine")


@verb("start", recorded=True)
def start(invocation: Invocation) -> Report:
    """Start the machines that are off.

    Does not wait until they answer: `labrun up` does.
    """
    return _switch(invocation, "start")


@verb("stop", recorded=True)
def stop(invocation: Invocation) -> Report:
    """Shut the machines down and keep them.

    A machine that is not off after --timeout seconds (default 60) has its plug pulled.
    """
    return _switch(invocation, "stop")


@verb("restart", recorded=True)
def restart(invocation: Invocation) -> Report:
    """Shut the machines down and start them again.

    A machine that is off is started. Does not wait until they answer: `labrun up` does.
    """
    return _switch(invocation, "restart")
