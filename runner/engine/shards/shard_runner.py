"""Nornir's runner over shards: the agenda stays here, workers do the work, and every host has a result."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from labrun.libvirt_calls import hurry
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.runner_plugin import BudgetRunner, Interrupted
from labrun.runner.engine.shards.dispatch import Dispatch
from labrun.runner.engine.shards.hosts import why_it_stays
from labrun.runner.engine.shards.messages import Limits, TaskRef
from labrun.runner.engine.shards.sharded_run import ShardedRun
from labrun.runner.engine.shards.tasks import name_of, repeats

if TYPE_CHECKING:
    from nornir.core.inventory import Host
    from nornir.core.task import AggregatedResult, Task

    from labrun.runner.engine.shards.engine import ShardEngine

__all__ = ["ShardRunner"]

# A worker gives reading a moment of 0.7 seconds, and its outcomes come over a pipe or a network.
_LAST_MOMENT: Final = 1.5


class ShardRunner:
    """Runs the tasks that workers know in shards of at most ``size`` hosts, all others in this process.

    ``host_keys`` are those on record, by host. ``run_id`` is the run's. Otherwise as
    :class:`labrun.runner.engine.runner_plugin.BudgetRunner`; ``budget.workers`` is the number of hosts at a
    time in each worker, or with ``--max-fail`` in all of them.
    """

    def __init__(
        self, budget: Budget, engine: ShardEngine, size: int, host_keys: Mapping[str, str], run_id: str
    ):
        self.budget = budget
        self._engine = engine
        self._size = size
        self._host_keys = host_keys
        self._run_id = run_id
        self._numbers = itertools.count(1)

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Return a result for every host, in the order of ``hosts``."""
        interruption = self.budget.on_signal.interruption
        name = name_of(task.task)
        if name is None or not hosts or (interruption is not None and interruption.came):
            return BudgetRunner(self.budget).run(task, hosts)
        run = ShardedRun(task, hosts, self.budget, self._dispatch(task, name, hosts))
        try:
            run.work()
        except KeyboardInterrupt as signal:
            hurry()
            if interruption is not None and run.let_go(time.monotonic() + _LAST_MOMENT):
                interruption.signal = signal
                return run.aggregated()
            if interruption is None:
                run.wind_down()
            raise Interrupted(run.aggregated(), getattr(signal, "exit_code", None)) from signal
        return run.aggregated()

    def _dispatch(self, task: Task, name: str, hosts: list[Host]) -> Dispatch:
        budget = self.budget
        ref = TaskRef(
            function=name,
            params=dict(task.params),
            limits=Limits(budget.workers, budget.connectors, budget.deadline),
            dry_run=task.is_dry_run(),
            run=self._run_id,
            reads=budget.on_signal.interruption is not None,
            repeats=repeats(name, task.params),
        )
        return Dispatch(
            self._engine,
            task,
            ref,
            hosts={host.name: host for host in hosts if not why_it_stays(host)},
            size=self._size,
            host_keys=self._host_keys,
            numbers=self._numbers,
        )
