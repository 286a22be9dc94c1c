"""`labrun status`: each host's state and addresses, and whether a login works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir.core.task import Result, Task

from labrun.errors import ConnectionLostError, LabrunError
from labrun.moments import told
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.runs.history import counted
from labrun.runner.engine.out_of_band import explain_failures
from labrun.runner.engine.results import NotStartedError
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.hosts.locate import Located
    from labrun.json_values import JsonObject
    from labrun.runner.history.reading import Run
    from labrun.tasks.provision.planning import SeenMachine

_LOGIN_SECONDS = 10.0
_INTERRUPTED = "interrupted"
# By the lab file it cannot be logged in to, and it was entered without a login.
_OUT_OF_BAND = "out of band"
_NOT_ASKED = (ConnectionLostError, NotStartedError)


def try_login(task: Task) -> Result:
    """Log in and run nothing, in a shell. Raises a TransportError if that fails."""
    from labrun.tasks.guest.inside import host_transport

    host_transport(task.host).run(":", timeout=_LOGIN_SECONDS)
    return Result(host=task.host, result="ok")


@verb("status")
def command(invocation: Invocation) -> Report:
    """Show the lab's hosts: state, addresses, whether SSH works, and the last runs.

    Exit code 4 if labrun cannot log in to a running host; a host that is off or absent is not an error.
    """
    session = open_session(invocation)
    machines = session.machines()
    located = session.locate()
    logins, lost = _logins(session, machines, located), session.lost()
    hosts = [
        _status_of(session, name, machines.get(name), located[name], logins.get(name) or lost.get(name))
        for name in session.hosts
    ]
    last_runs = _last_runs(session)
    notes = [
        session.place,
        *(f"last {command}: {told(run.began)}, {counted(run)}" for command, run in last_runs.items()),
        *(
            f"{name}: {machines[name].machine.state}: {machines[name].machine.reason}"
            for name in session.hosts
            if name in machines and machines[name].machine.reason
        ),
        *(f"{stray.full_name}: {stray.why}" for stray in session.strays()),
    ]
    extra: JsonObject = {
        "hosts": [host.as_json() for host in hosts],
        **session.place_json(),
        "last_runs": {
            command: {"run": run.run, "exit_code": run.exit_code, "seconds": round(run.seconds or 0.0, 1)}
            for command, run in last_runs.items()
        },
    }
    text = None if invocation.json else _table(hosts, notes, invocation)
    return Report(session.lab.name, [host.row() for host in hosts], extra=extra, text=text)


@dataclass(frozen=True, slots=True)
class _HostStatus:
    """One host; ``login`` is ``ok``, ``out of band``, why it fails, or None for a host that is off."""

    name: str
    state: str
    addresses: Mapping[str, str]
    address_source: str | None
    login: str | None
    driver: str | None
    through: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        return {
            "name": self.name,
            "state": self.state,
            "addresses": self.addresses,
            "address_source": self.address_source,
            "ssh": self.login or "-",
            "driver": self.driver,
            "through": list(self.through),
        }

    def row(self) -> Outcome:
        failed = self.login not in (None, "ok", _OUT_OF_BAND)
        is_unknown = self.login == _INTERRUPTED or self.state == "unknown"
        status = Status.UNKNOWN if is_unknown else Status.UNREACHABLE
        return Outcome(
            self.name,
            "machine",
            self.name,
            status if failed else Status.OK,
            actual=self.state,
            why=self.login if failed else None,
        )


def _logins(
    session: Session, machines: Mapping[str, SeenMachine], located: Mapping[str, Located]
) -> dict[str, str]:
    """Return, per running host, ``ok``, ``out of band`` or the reason why logging in fails."""
    from labrun.inventory.hosts.locate import no_logins
    from labrun.runner.engine.nornir import cause_of

    running = [
        name
        for name in session.hosts
        if session.lab.hosts[name].machine is None
        or (name in machines and machines[name].machine.state == "running")
    ]
    if not running:
        return {}
    logins: dict[str, str] = {}
    apart = no_logins(session.lab, located)
    budget = session.budget(_LOGIN_SECONDS, reads=True)
    with session.engine(located, budget, hosts=running) as nornir:
        attempts = nornir.run(try_login)
        explain_failures(session, located, attempts)
        for name, results in attempts.items():
            error = cause_of(results)
            reason = error.reason if isinstance(error, LabrunError) else str(error)
            if session.invocation.interruption.came and isinstance(error, _NOT_ASKED):
                reason = _INTERRUPTED
            good = _OUT_OF_BAND if name in apart else "ok"
            logins[name] = good if error is None else reason
    return logins


def _status_of(
    session: Session, name: str, machine: SeenMachine | None, located: Located, login: str | None
) -> _HostStatus:
    if session.lab.hosts[name].machine is None:
        state = "existing"
    else:
        state = machine.machine.state if machine else "unknown" if name in session.lost() else "absent"
    return _HostStatus(
        name,
        state,
        {nic: str(address) for nic, address in located.addresses.items()},
        located.source,
        login,
        machine.kind if machine else None,
        located.hops,
    )


def _last_runs(session: Session) -> Mapping[str, Run]:
    """Return the last finished run of each command, newest first."""
    from labrun.runner.history.reading import answer_of

    nothing: dict[str, Run] = {}
    return answer_of(session.history(), lambda history: history.last_of_each(), nothing)


def _login_words(host: _HostStatus) -> str:
    if host.login == "ok" and host.through:
        return f"ok, through {' and '.join(host.through)}"
    return host.login or "-"


def _table(hosts: Sequence[_HostStatus], notes: Sequence[str], invocation: Invocation) -> str:
    from labrun.runner.cli.terminal import printable
    from labrun.runner.views.columns import listing

    columns = ("host", "state", "addresses", "ssh", "driver")
    lines = [
        (
            host.name,
            host.state,
            "\n".join(f"{address} ({nic})" for nic, address in host.addresses.items()) or "-",
            _login_words(host),
            host.driver or "-",
        )
        for host in hosts
    ]
    return listing(columns, lines, color=invocation.color) + "".join(f"{printable(note)}\n" for note in notes)
