"""One task on many hosts by workers: who begins when, who has ended how, and what a signal does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from nornir.core.task import AggregatedResult, MultiResult, Result

from labrun.errors import ConnectionLostError, LabrunError, WorkerLostError
from labrun.progress import report
from labrun.runner.cli.terminal import say
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.results import NotStartedError, ended_well, ending_of, is_known
from labrun.runner.engine.rollout import Agenda
from labrun.runner.engine.shards.dispatch import Dispatch
from labrun.runner.engine.shards.failures import error_of
from labrun.runner.engine.shards.messages import HostOutcome, Progress
from labrun.tasks.guest.transport import LOGGED_IN_AT

if TYPE_CHECKING:
    from nornir.core.inventory import Host
    from nornir.core.task import Task

__all__ = ["ShardedRun"]

# A signal that arrives just before a wait is noticed only when the wait ends; so is a machine that has gone.
_ATTENTION = 0.1
_MOST_ATTEMPTS = 2


class ShardedRun:
    """The state of a run. It is the caller's thread alone that changes it, and that notices signals."""

    def __init__(self, task: Task, hosts: list[Host], budget: Budget, dispatch: Dispatch) -> None:
        self._task = task
        self._hosts = {host.name: host for host in hosts}
        self._budget = budget
        self._dispatch = dispatch
        self._agenda = Agenda(list(self._hosts), budget.rollout)
        self._running: dict[str, int] = {}
        self._again: list[Host] = []
        self._waiting: list[Host] = []
        self._results: dict[str, MultiResult] = {}

    def aggregated(self) -> AggregatedResult:
        """Return the results, in the order of the hosts."""
        aggregated = AggregatedResult(self._task.name)
        for name in self._hosts:
            aggregated[name] = self._results[name]
        return aggregated

    def work(self, until: float = math.inf) -> None:
        """Begin hosts and wait until all have ended, or until a moment on the monotonic clock.

        Raises LabrunError if the workers cannot be used at all.
        """
        while len(self._results) < len(self._hosts) and time.monotonic() < until:
            self._begin()
            arrival = self._dispatch.next(_ATTENTION)
            while arrival is not None:
                if isinstance(arrival, LabrunError):
                    raise arrival
                if isinstance(arrival, Progress):
                    if arrival.host in self._running:
                        report(arrival.host, arrival.stage, arrival.detail)
                elif isinstance(arrival, HostOutcome):
                    self._arrived(arrival)
                elif arrival[0] in self._running:
                    self._settle(*arrival)
                arrival = self._dispatch.next(0.0)
            self._cut_gone()

    def _begin(self) -> None:
        for host in (chosen := self._chosen()):
            self._running[host.name] = 1
        if chosen:
            self._dispatch.begin(chosen, self._budget)
        if self._again:
            self._dispatch.begin(self._again, self._budget, _MOST_ATTEMPTS)
            self._again = []

    def _chosen(self) -> list[Host]:
        """Return the hosts that begin now.

        Where one host's end decides on others, they begin one by one as in a single process; where any number
        may fail, in each worker. Otherwise a worker gets a shard as soon as it has none.
        """
        rollout, workers = self._budget.rollout, self._budget.workers
        is_strict = rollout.canary is not None or rollout.groups or rollout.after
        if rollout.max_fail is None and not is_strict:
            while (name := self._agenda.begin()) is not None:
                self._waiting.append(self._hosts[name])
            return self._dispatch.fitting(self._waiting, workers)
        free = workers * (self._dispatch.count if rollout.max_fail is None else 1) - len(self._running)
        chosen: list[Host] = []
        while len(chosen) < free and (name := self._agenda.begin()) is not None:
            chosen.append(self._hosts[name])
        return chosen

    def _arrived(self, outcome: HostOutcome) -> None:
        host = self._hosts[outcome.host]
        if host.name not in self._running:
            return  # given up meanwhile
        if outcome.lost:
            self._lost(host)
            return
        if outcome.port is not None:
            host.data[LOGGED_IN_AT] = outcome.port
        error = error_of(outcome.failure, host.name) if outcome.failure is not None else None
        result = MultiResult(self._task.name)
        result.append(
            Result(
                host,
                result=outcome.result if error is None else str(error),
                exception=error,
                failed=outcome.failed or error is not None,
                changed=outcome.changed,
                diff=outcome.diff,
            )
        )
        self._settle(host.name, result, told=True)

    def _lost(self, host: Host) -> None:
        is_first = self._running[host.name] < _MOST_ATTEMPTS
        # What changes a host is never begun again: nobody knows how far it came.
        if self._dispatch.repeats and is_first and not self._agenda.is_dropped:
            report(host.name, "again", "the worker was lost")
            self._running[host.name] = _MOST_ATTEMPTS
            self._again.append(host)
            return
        self._settle(host.name, self._failed(host, WorkerLostError("the worker was lost", host=host.name)))

    def _cut_gone(self) -> None:
        for name in list(self._running):
            if fate := self._budget.gone(name):
                reason = f"the machine was {fate} while labrun worked on it"
                error = ConnectionLostError(reason, host=name, hint="`labrun up` brings it back")
                self._settle(name, self._failed(self._hosts[name], error))

    def _failed(self, host: Host, error: BaseException) -> MultiResult:
        result = MultiResult(self._task.name)
        result.append(Result(host, exception=error, result=str(error), failed=True))
        return result

    def _settle(self, name: str, result: MultiResult, *, told: bool = False) -> None:
        """Record a result. With ``told``, who worked on the host has reported its end already."""
        self._results[name] = result
        self._running.pop(name, None)
        self._agenda.end(name, well=ended_well(result), known=is_known(result))
        if not told:
            self._report_end(name)
        for other, why in self._agenda.held_back.items():
            if other not in self._results:
                self._never_began(other, why)

    def _never_began(self, name: str, why: str) -> None:
        self._results[name] = self._failed(
            self._hosts[name], NotStartedError(f"not started: {why}", host=name)
        )
        self._report_end(name)

    def _report_end(self, name: str) -> None:
        report(name, *ending_of(self._results[name]))

    def let_go(self, until: float) -> bool:
        """Give hosts in progress a last moment and abandon the rest. Return False after a second signal."""
        try:
            self._dispatch.cancel()
            self._drop_waiting()
            self.work(until)
        except KeyboardInterrupt:
            self._drop_waiting()
            self._abandon()
            return False
        self._abandon()
        return True

    def wind_down(self) -> None:
        """Wait for the hosts in progress. A second signal abandons them."""
        try:
            self._dispatch.cancel()
            self._drop_waiting()
            for name in list(self._running):
                report(name, "stopping", "Ctrl-C again does not wait for it")
            if self._running and not self._budget.on_signal.quiet:
                verb = "host has" if len(self._running) == 1 else "hosts have"
                say(f"waiting until {len(self._running)} {verb} {self._budget.on_signal.until}")
            self.work()
        except KeyboardInterrupt:
            self._dispatch.cancel(now=True)
            self._drop_waiting()
            self._abandon()

    def _drop_waiting(self) -> None:
        self._agenda.drop()
        self._waiting, self._again = [], []
        for name in self._hosts:
            if name not in self._results and name not in self._running:
                self._never_began(name, "interrupted before it started")

    def _abandon(self) -> None:
        for name in list(self._running):
            error = ConnectionLostError("interrupted", host=name)
            self._settle(name, self._failed(self._hosts[name], error))
