"""`labrun status`: each host's state and addresses, and whether a login works."""

from __future__ import annotations

from typing import Any

from nornir.core.task import Result, Task

from labrun.errors import ConnectionLostError, LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.engine.runner_plugin import NotStartedError
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb
from labrun.tasks.provision.planning import SeenMachine

_LOGIN_SECONDS = 10.0
_INTERRUPTED = "interrupted"
_NOT_ASKED = (ConnectionLostError, NotStartedError)


def try_login(task: Task) -> Result:
    """Log in and run nothing, in a shell. Raises a TransportError if that fails."""
    from labrun.tasks.guest.transport import transport_of

    transport_of(task.host).run(":", timeout=_LOGIN_SECONDS)
    return Result(host=task.host, result="ok")


@verb("status")
def command(invocation: Invocation) -> Report:
    """Show the lab's hosts: state, addresses, whether SSH works, and the last runs.

    Exit code 4 when a running host cannot be logged in to; a host that is off or absent is no error.
    """
    session = open_session(invocation, safely=False)
    seen = session.machines()
    located = session.locate()
    logins = _logins(session, seen, located)
    hosts = [_host(session, name, seen.get(name), located[name], logins.get(name)) for name in session.hosts]
    rows = [_row(entry, logins.get(entry["name"])) for entry in hosts]
    last = _last_runs(session)
    notes = [session.place, *_told(last)]
    text = None if invocation.json else _table(hosts, notes, invocation)
    return Report(
        session.lab.name,
        rows,
        extra={"hosts": hosts, "hypervisor": session.uri or None, "last_runs": last},
        text=text,
    )


def _logins(session: Session, seen: dict[str, SeenMachine], located: Any) -> dict[str, str]:
    """Return, per running host, ``ok`` or the reason why logging in fails."""
    from labrun.runner.engine.nornir import cause_of

    running = [
        name
        for name in session.hosts
        if session.lab.hosts[name].machine is None or (name in seen and seen[name].machine.state == "running")
    ]
    if not running:
        return {}
    found: dict[str, str] = {}
    limit = session.invocation.timeout or _LOGIN_SECONDS
    with session.engine(located, hosts=running, deadline=limit, reads=True) as nornir:
        for name, results in nornir.run(try_login).items():
            error = cause_of(results)
            reason = error.reason if isinstance(error, LabrunError) else str(error)
            if session.invocation.interruption.came and isinstance(error, _NOT_ASKED):
                reason = _INTERRUPTED
            found[name] = "ok" if error is None else reason
    return found


def _host(
    session: Session, name: str, seen: SeenMachine | None, located: Any, login: str | None
) -> dict[str, Any]:
    if session.lab.hosts[name].machine is None:
        state = "existing"
    else:
        state = seen.machine.state if seen else "absent"
    return {
        "name": name,
        "state": state,
        "addresses": {network: str(address) for network, address in located.addresses.items()},
        "address_source": located.source,
        "ssh": login or "-",
        "driver": seen.kind if seen else None,
    }


def _row(entry: dict[str, Any], login: str | None) -> Outcome:
    failed = login not in (None, "ok")
    silence = Status.UNKNOWN if login == _INTERRUPTED else Status.UNREACHABLE
    return Outcome(
        entry["name"],
        "machine",
        entry["name"],
        silence if failed else Status.OK,
        expected=None,
        actual=entry["state"],
        why=login if failed else None,
    )


def _last_runs(session: Session) -> dict[str, Any]:
    from labrun.runner.history.reading import Run, recalled

    nothing: dict[str, Run] = {}
    runs = recalled(session.history(), lambda history: history.last_of_each(), nothing)
    return {
        command: {"run": run.run, "exit_code": run.exit_code, "seconds": round(run.seconds or 0.0, 1)}
        for command, run in runs.items()
    }


def _told(last: dict[str, Any]) -> list[str]:
    return [f"last {name}: {run['run']}, exit code {run['exit_code']}" for name, run in last.items()]


def _table(hosts: list[dict[str, Any]], notes: list[str], invocation: Invocation) -> str:
    from labrun.runner.cli.terminal import printable
    from labrun.runner.views.listing import listing

    columns = ("host", "state", "addresses", "ssh", "driver")
    lines = [
        (
            entry["name"],
            entry["state"],
            "\n".join(f"{address} ({network})" for network, address in entry["addresses"].items()) or "-",
            entry["ssh"],
            entry["driver"] or "-",
        )
        for entry in hosts
    ]
    return listing(columns, lines, color=invocation.color) + "".join(f"{printable(note)}\n" for note in notes)
