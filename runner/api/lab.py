"""A lab in Python: load it, bring it up, configure and verify it, work on its hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from labrun.errors import LabrunError, UsageError
from labrun.inventory.hosts.locate import file_addresses
from labrun.ports import Completed
from labrun.runner.api.calls import called, in_lab_network
from labrun.runner.api.outcomes import Outcomes
from labrun.runner.cli.invocation import Invocation, RunRecord

if TYPE_CHECKING:
    from nornir.core import Nornir

    from labrun.inventory import model

__all__ = ["Host", "Lab", "TimedOutError", "load"]

T = TypeVar("T")
Hosts: TypeAlias = str | Iterable[str] | None
"""Hosts of a lab: names, ``@group``s, or both, in one text with commas or one by one; None = all."""

_POLL = 0.5
_SECONDS = 60.0
_LOGIN = 30.0  # seconds for the login before a script


class TimedOutError(AssertionError):
    """Report that a condition did not come true in time; an assertion, so that pytest counts a failure."""


class Host:
    """One host of a lab."""

    def __init__(self, lab: Lab, name: str):
        self.lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"<Host {self.name} of {self.lab.name}>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses that the lab file gives the host, IPv4 first; those it derives, too."""
        return tuple(file_addresses(self.lab._model.hosts[self.name]))

    @property
    def is_router(self) -> bool:
        """Return whether the host's role is router."""
        return self.lab._model.hosts[self.name].role.value == "router"

    def run(
        self, script: str, *, sudo: bool = False, timeout: float = _SECONDS, check: bool = False
    ) -> Completed:
        """Run a shell script on the host: exit status, both streams, seconds.

        As the login user, or as root with ``sudo``, for ``timeout`` seconds at most. Raises a TransportError
        if the host cannot be used, and with ``check`` LabrunError if the exit status is not 0.
        """
        from nornir.core.task import Result, Task

        from labrun.runner.engine.results import cause_of
        from labrun.tasks.guest.inside import host_transport

        def on_host(task: Task) -> Result:
            done = host_transport(task.host).run(script, timeout=timeout, sudo=sudo)
            return Result(host=task.host, result=done)

        with self.lab.nornir(self.name, timeout=timeout + _LOGIN) as nornir:
            results = nornir.run(task=on_host, name="run")[self.name]
        if (error := cause_of(results)) is not None:
            raise error
        done = results[0].result
        assert isinstance(done, Completed)
        if check and done.exit_status != 0:
            words = done.stderr.strip() or done.stdout.strip() or "it printed nothing"
            raise LabrunError(f"{self.name}: exit status {done.exit_status} of {script!r}: {words}")
        return done


class Lab:
    """A lab file, and what can be done with the lab.

    What changes the lab holds its lock meanwhile, and raises LockedError if another labrun has it.
    ``lab["host01"]`` is a host, ``len(lab)`` how many there are, iteration goes over their names.
    """

    def __init__(self, path: Path, model: model.Lab, state_dir: Path | None, record: bool):
        self.path = path
        self._model = model
        self._state_dir = state_dir
        self._record = record

    def __repr__(self) -> str:
        return f"<Lab {self.name}: {len(self._model.hosts)} hosts, {len(self._model.networks)} networks>"

    def __getitem__(self, name: str) -> Host:
        """Return a host. Raises UsageError, a KeyError in all but its type, with the nearest name."""
        from labrun.runner.cli.selection import select_hosts

        if name not in self._model.hosts:
            select_hosts(self._model, name)
            raise UsageError(f"{name!r} is not one host", hint="lab[NAME] is one; methods take hosts=...")
        return Host(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._model.hosts)

    def __len__(self) -> int:
        return len(self._model.hosts)

    def __contains__(self, name: object) -> bool:
        return name in self._model.hosts

    @property
    def name(self) -> str:
        """Return the lab's name."""
        return self._model.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names of the hosts, in the file's order."""
        return tuple(self._model.hosts)

    def is_up(self) -> bool:
        """Return whether the lab is there: a machine of it in libvirt, or machines that exist anyway."""
        from labrun.runner.engine.session import open_session

        invocation = self._invocation("status", None)
        with in_lab_network(invocation):
            session = open_session(invocation)
            return not session.uri or bool(session.machines())

    def expectations(self, hosts: Hosts = None) -> Outcomes:
        """Return the rows that ``verify`` would have, with what each expects; nothing is asked."""
        from labrun.runner.cli.selection import select_hosts
        from labrun.runner.commands.verify.offline import offline_rows

        chosen = select_hosts(self._model, _expression(hosts))
        return Outcomes(row for row in offline_rows(self._model) if row.host in chosen or hosts is None)

    def up(self, hosts: Hosts = None, *, configure: bool = False, prune: bool = False) -> Outcomes:
        """Create networks and machines and wait until they are ready; with ``configure`` configure them."""
        from labrun.runner.commands.up import command

        return self._called(command, hosts, configure_too=configure, prune=prune)

    def configure(self, hosts: Hosts = None, *, only: Iterable[str] = (), dry_run: bool = False) -> Outcomes:
        """Bring the hosts to the declared state, only these sections if any are given."""
        from labrun.runner.commands.configure import command

        return self._called(command, hosts, only=",".join(only) or None, dry_run=dry_run)

    def verify(self, hosts: Hosts = None, *, full: bool = False) -> Outcomes:
        """Compare what the hosts have with what the file implies; ``full`` traces every pair."""
        from labrun.runner.commands.verify.command import command

        return self._called(command, hosts, full=full)

    def drift(self, hosts: Hosts = None, *, fix: bool = False) -> Outcomes:
        """Compare file, last applied state and hosts; with ``fix`` correct what has drifted."""
        from labrun.runner.commands.drift.command import command

        return self._called(command, hosts, fix=fix)

    def down(self, hosts: Hosts = None) -> Outcomes:
        """Remove the lab's machines and networks, without asking."""
        from labrun.runner.commands.down import command

        return self._called(command, hosts)

    def run(
        self,
        task: Callable[..., Any],
        hosts: Hosts = None,
        *,
        dry_run: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> Outcomes:
        """Run a Nornir task on the hosts as `labrun run` does: one row for each."""
        from labrun.runner.commands.user_tasks.command import run_task
        from labrun.runner.engine.lock import lab_lock
        from labrun.runner.engine.session import open_session

        invocation = self._invocation("run", hosts)
        with in_lab_network(invocation):
            session = open_session(invocation)
            if dry_run:
                return Outcomes(run_task(session, task, parameters or {}, dry_run=True))
            with lab_lock(session.state.lock, "run"):
                return Outcomes(run_task(session, task, parameters or {}))

    @contextmanager
    def nornir(
        self, hosts: Hosts = None, *, dry_run: bool = False, timeout: float | None = None
    ) -> Iterator[Nornir]:
        """Yield a Nornir over the hosts, with labrun's inventory, runner and logins; it closes them.

        The connection called ``netmiko`` is labrun's own login. ``timeout`` is the seconds for each host of
        one task.
        """
        from labrun.runner.engine.session import open_session
        from labrun.tasks.guest.lazy_login import offer_login

        invocation = self._invocation("run", hosts, timeout=timeout)
        with in_lab_network(invocation):
            session = open_session(invocation)
            with session.engine(session.locate(), session.budget(_SECONDS), dry_run=dry_run) as nornir:
                for host in nornir.inventory.hosts.values():
                    offer_login(host)
                yield nornir

    def wait_until(
        self, condition: Callable[[], T], timeout: float = _SECONDS, *, every: float = _POLL, what: str = ""
    ) -> T:
        """Call ``condition`` until it returns something true, and return that.

        An :class:`AssertionError` or a LabrunError of the condition counts as not yet. Raises
        :class:`TimedOutError` after ``timeout`` seconds, with the last reason.
        """
        deadline = time.monotonic() + timeout
        while True:
            reason = "it is not true"
            try:
                value = condition()
                if value.ok if isinstance(value, Outcomes) else value:
                    return value
                reason = f"it is {value!r}"
            except (AssertionError, LabrunError) as error:
                reason = str(error).strip() or type(error).__name__
            if time.monotonic() + every > deadline:
                name = what or getattr(condition, "__name__", "the condition")
                raise TimedOutError(f"not within {timeout:g} s: {name}: {reason}")
            time.sleep(every)

    def _called(self, command: Any, hosts: Hosts, **options: Any) -> Outcomes:
        invocation = self._invocation(str(command.name), hosts)
        return Outcomes(called(command, invocation, **options).outcomes)

    def _invocation(self, command: str, hosts: Hosts, *, timeout: float | None = None) -> Invocation:
        expression = _expression(hosts)
        recording = RunRecord()
        if self._record:
            from labrun.runner.history.recording import Recording

            recording = Recording(f"--hosts {expression}" if expression else "")
        return Invocation(
            command,
            lab=str(self.path),
            hosts=expression,
            timeout=timeout,
            yes=True,
            verbosity=-1,
            silent=True,
            state_dir=self._state_dir,
            recording=recording,
        )


def _expression(hosts: Hosts) -> str | None:
    return hosts if hosts is None or isinstance(hosts, str) else ",".join(hosts)


def load(path: str | Path | None = None, *, state_dir: str | Path | None = None, record: bool = True) -> Lab:
    """Return the lab of a file; by default of lab.yaml here or in the nearest folder above.

    ``state_dir`` is where keys and histories are kept, ``record`` = calls are runs in the lab's history.
    Raises LabFileError with every problem of the file, UsageError if there is none.
    """
    from labrun.inventory.file.lab_cache import remembered_lab
    from labrun.runner.cli.lab_file import lab_path

    where = Path(lab_path(None if path is None else str(path)))
    if where.is_dir():
        where /= "lab.yaml"
    return Lab(
        where.absolute(), remembered_lab(where), Path(state_dir) if state_dir is not None else None, record
    )
