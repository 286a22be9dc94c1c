"""Nornir's runner ``labrun-budget``: threads, a deadline per host, a clean stop on Ctrl-C, complete results.

The agenda (``rollout.py``) decides which host begins, ``results.py`` how a host ended.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from nornir.core.task import AggregatedResult, MultiResult, Result

from labrun.errors import ConnectionLostError
from labrun.libvirt_calls import hurry
from labrun.progress import report
from labrun.runner.cli.terminal import say
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.results import NotStartedError, ended_well, ending_of, is_known
from labrun.runner.engine.rollout import Agenda
from labrun.tasks.guest.deadline import Pace, paced
from labrun.tasks.guest.transport import LOGGED_IN_AT, port_of

if TYPE_CHECKING:
    from nornir.core.inventory import Host
    from nornir.core.task import Task

__all__ = ["RUNNER", "BudgetRunner", "Interrupted"]

RUNNER = "labrun-budget"
# A task that checks its deadline gives a better reason than one that is cut off (seconds).
_GRACE = 2.0
# Time for nearly finished work after a signal (seconds): a read ends within two.
_LAST_MOMENT = 0.7
_MOST_NAMES = 5
_CUT_SHORT = "interrupted"
# A signal that arrives just before a wait on a lock is noticed only when the wait ends.
_ATTENTION = 0.1


class Interrupted(KeyboardInterrupt):
    """Report Ctrl-C once no host is being worked on; ``partial`` has a result for every host.

    ``exit_code`` is that of the causing signal, None for Ctrl-C.
    """

    def __init__(self, partial: AggregatedResult, exit_code: int | None = None):
        super().__init__()
        self.partial = partial
        self.exit_code = exit_code


class BudgetRunner:
    """Nornir's runner within a :class:`Budget`.

    The rollout sets the order of hosts and how many of them may fail. A host that is held back has a
    NotStartedError as its result. A host that exceeds the deadline is cut off: its connections are closed
    and its result is a ConnectionLostError. After Ctrl-C no further host begins; a second Ctrl-C ends the
    wait for hosts in progress.
    """

    def __init__(self, budget: Budget | None = None):
        self.budget = budget or Budget()
        self._current: _Run | None = None
        self._stopped = threading.Event()

    def stop(self, *, now: bool = False) -> None:
        """Do from another thread what a signal does to the run in progress; ``now`` = what a second one does.

        The run still returns a result for every host, if only that it never began.
        """
        self._stopped.set()
        run = self._current
        if run is not None:
            run.stop(reads=self.budget.on_signal.interruption is not None, now=now)

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Return a result for every host, in the order of ``hosts``."""
        run = self._current = _Run(task, hosts, self.budget)
        interruption = self.budget.on_signal.interruption
        if self._stopped.is_set() or (interruption is not None and interruption.came):
            run.drop_waiting()
            return run.aggregated()
        try:
            run.start()
            run.wait()
        except KeyboardInterrupt as signal:
            hurry()
            if interruption is not None and run.let_go():
                interruption.signal = signal
                return run.aggregated()
            if interruption is None:
                run.wind_down()
            raise Interrupted(run.aggregated(), getattr(signal, "exit_code", None)) from signal
        return run.aggregated()


class _Run:
    """One task on one list of hosts. ``_changed`` guards all attributes that are not set just once."""

    def __init__(self, task: Task, hosts: list[Host], budget: Budget):
        self._task = task
        self._hosts = hosts
        self._seconds = math.inf if budget.deadline is None else budget.deadline
        self._workers = min(budget.workers, len(hosts))
        self._turns = threading.Semaphore(min(budget.connectors, max(1, len(hosts))))
        self._on_signal = budget.on_signal
        self._gone = budget.gone
        self._settled = budget.settled
        self._keeps_logins = budget.keeps_logins
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._by_name = {host.name: host for host in hosts}
        self._agenda = Agenda(list(self._by_name), budget.rollout)
        self._running: dict[str, tuple[Host, Pace]] = {}
        self._results: dict[str, MultiResult] = {}

    def start(self) -> None:
        for host in self._hosts[self._workers :]:
            report(host.name, "queued")
        for _ in range(self._workers):
            self._start_worker()

    def aggregated(self) -> AggregatedResult:
        aggregated = AggregatedResult(self._task.name)
        for host in self._hosts:
            aggregated[host.name] = self._results[host.name]
        return aggregated

    def _start_worker(self) -> None:
        # Daemon threads: a host that hangs in a system call must not block the exit of the process.
        name = f"labrun-{self._task.name}"
        threading.Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                host = self._next()
                if host is None:
                    return
                share = Pace(time.monotonic() + self._seconds, self._stopping, self._turns)
                self._running[host.name] = (host, share)
                # The waiting threads must take this host's deadline into account.
                self._changed.notify_all()
            result = self._one(host, share)
            if not self._keeps_logins:
                _logged_out(host)
            with self._changed:
                if self._running.get(host.name, (None, None))[1] is not share:
                    return  # cut off meanwhile: the result is recorded, and another worker took over
                self._settle(host, result)

    def _next(self) -> Host | None:
        """Wait for a host that may begin. Return None once no further one will."""
        while True:
            name = self._agenda.begin()
            if name is not None:
                return self._by_name[name]
            if not self._agenda.waiting:
                return None
            self._changed.wait()

    def _one(self, host: Host, share: Pace) -> MultiResult:
        try:
            with paced(share):
                return self._task.copy().start(host)
        except BaseException as error:  # noqa: BLE001 - no host may be missing from the result
            return self._failed(host, error)

    def _failed(self, host: Host, error: BaseException) -> MultiResult:
        result = MultiResult(self._task.name)
        result.append(Result(host, exception=error, result=str(error), failed=True))
        return result

    def _settle(self, host: Host, result: MultiResult) -> None:
        # In this order: a signal in between must find the host in one of the two.
        self._results[host.name] = result
        _, share = self._running.pop(host.name, (None, None))
        if share is not None:
            share.is_over = True
        self._agenda.end(host.name, well=ended_well(result), known=is_known(result))
        self._report_end(host, result)
        self._settled(host.name, result)
        for name, why in self._agenda.held_back.items():
            if name not in self._results:
                self._never_began(name, why)
        self._changed.notify_all()

    def _never_began(self, name: str, why: str) -> None:
        host = self._by_name[name]
        self._results[name] = self._failed(host, NotStartedError(f"not started: {why}", host=name))
        self._report_end(host, self._results[name])
        self._settled(name, self._results[name])

    @staticmethod
    def _report_end(host: Host, result: MultiResult) -> None:
        report(host.name, *ending_of(result))

    def wait(self, until: float = math.inf) -> None:
        """Wait for all hosts, or until a moment on the monotonic clock. Cut off overdue hosts."""
        reported = 0.0
        while True:
            with self._changed:
                left = until - time.monotonic()
                if len(self._results) == len(self._hosts) or left <= 0:
                    return
                overdue = self._overdue()
                if self._stopping.is_set() and self._on_signal.interruption is None:
                    reported = self._report_waiting(reported)
                if not overdue:
                    self._changed.wait(min(left, self._until_next()))
            for host in overdue:
                self._cut(host)

    def _report_waiting(self, reported: float) -> float:
        """Report the awaited hosts and the maximum wait, again if it grows. Return the moment reported."""
        last = max((share.deadline for _, share in self._running.values()), default=0.0)
        if self._on_signal.quiet or last <= reported + _GRACE:
            return max(reported, last)
        names = list(self._running)
        who = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        if len(names) > _MOST_NAMES:
            who = f"{len(names)} hosts"
        verb = "has" if len(names) == 1 else "have"
        left = last + _GRACE - time.monotonic()
        most = f"; at most {math.ceil(left)} s" if math.isfinite(left) else ""
        say(f"waiting until {who} {verb} {self._on_signal.until}{most}")
        return last

    def _overdue(self) -> list[Host]:
        """Settle the hosts that are not waited for any more, and return them."""
        now = time.monotonic()
        errors = [
            (host, error)
            for host, share in self._running.values()
            if (error := self._lost(host, late=share.deadline + _GRACE <= now)) is not None
        ]
        for host, error in errors:
            self._settle(host, self._failed(host, error))
        return [host for host, _ in errors]

    def _lost(self, host: Host, *, late: bool) -> ConnectionLostError | None:
        if fate := self._gone(host.name):
            reason = f"the machine was {fate} while labrun worked on it"
            return ConnectionLostError(reason, host=host.name, hint="`labrun up` brings it back")
        if late:
            reason = f"not finished after {self._seconds:g} s"
            return ConnectionLostError(reason, host=host.name, hint="--timeout allows more")
        return None

    def _until_next(self) -> float:
        deadlines = [share.deadline for _, share in self._running.values()]
        first = min(deadlines, default=math.inf)
        return max(0.0, min(first + _GRACE - time.monotonic(), _ATTENTION))

    def _cut(self, host: Host) -> None:
        # Closing may block on the peer.
        threading.Thread(target=_closed, args=(host,), name=f"labrun-cut-{host.name}", daemon=True).start()
        if self._agenda.waiting:
            self._start_worker()

    def let_go(self) -> bool:
        """Give hosts in progress a last moment and abandon the rest. Return False after a second signal."""
        try:
            self._stopping.set()
            self.drop_waiting()
            self.wait(time.monotonic() + _LAST_MOMENT)
        except KeyboardInterrupt:
            self.drop_waiting()
            self._abandon()
            return False
        self._abandon()
        return True

    def wind_down(self) -> None:
        try:
            self._stopping.set()
            self.drop_waiting()
            for name in list(self._running):
                report(name, "stopping", "Ctrl-C again does not wait for it")
            self.wait()
        except KeyboardInterrupt:
            self.drop_waiting()
            self._abandon()

    def stop(self, *, reads: bool, now: bool) -> None:
        """Let no further host begin, and abandon those in progress if they only read, or ``now``."""
        self._stopping.set()
        self.drop_waiting()
        if reads and not now:
            self.wait(time.monotonic() + _LAST_MOMENT)
        if reads or now:
            self._abandon()

    def drop_waiting(self) -> None:
        with self._changed:
            self._agenda.drop()
            # A signal may have come in the middle of this already: what counts is who has no result yet.
            for name in self._by_name:
                if name not in self._results and name not in self._running:
                    self._never_began(name, "interrupted before it started")
            self._changed.notify_all()

    def _abandon(self) -> None:
        with self._changed:
            in_progress = [host for host, _ in self._running.values()]
            for host in in_progress:
                error = ConnectionLostError(_CUT_SHORT, host=host.name)
                self._settle(host, self._failed(host, error))
        for host in in_progress:
            self._cut(host)


def _closed(host: Host) -> None:
    """Close a host's connections. Ignore errors: there is no one left to report them to."""
    for name in list(host.connections):
        with contextlib.suppress(Exception):
            host.close_connection(name)


def _logged_out(host: Host) -> None:
    """Close a host's connections after its task. What they have shown of its port is kept."""
    port = port_of(host)
    if port is not None:
        host.data[LOGGED_IN_AT] = port
    _closed(host)
