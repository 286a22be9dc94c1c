"""Where hosts are worked on: shards to the workers with the least to do, and what must not travel here."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from labrun.errors import LabrunError
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.rollout import ALL_AT_ONCE
from labrun.runner.engine.runner_plugin import BudgetRunner
from labrun.runner.engine.shards.hosts import spec_of
from labrun.runner.engine.shards.messages import HostOutcome, Progress, Shard, TaskRef
from labrun.runner.engine.shards.versions import refuse_others

if TYPE_CHECKING:
    from nornir.core.inventory import Host
    from nornir.core.task import MultiResult, Task

    from labrun.runner.engine.shards.engine import ShardEngine

__all__ = ["HERE", "Arrival", "Dispatch"]

HERE = ""
"""The name of this process among the workers."""

Arrival: TypeAlias = "Progress | HostOutcome | tuple[str, MultiResult] | LabrunError"
"""What comes from workers, and from this process a host's result; an error ends the run."""


class Dispatch:
    """Sends the hosts of one task to workers, and receives what becomes of them.

    ``hosts`` are those that may travel; all others are worked on here. ``numbers`` are those of shards, each
    given once in the life of the engine.
    """

    def __init__(
        self,
        engine: ShardEngine,
        task: Task,
        ref: TaskRef,
        *,
        hosts: Mapping[str, Host],
        size: int,
        host_keys: Mapping[str, str],
        numbers: Iterator[int],
    ) -> None:
        self._engine = engine
        self._task = task
        self._ref = ref
        self._hosts = hosts
        self._size = size
        self._host_keys = host_keys
        self._loads = dict.fromkeys(engine.start(), 0) if hosts else {}
        self._shards: dict[str, Shard] = {}
        self._arrivals: SimpleQueue[Arrival] = SimpleQueue()
        self._here: list[BudgetRunner] = []
        self._here_load = 0
        self._numbers = numbers
        self._is_checked = False

    @property
    def repeats(self) -> bool:
        """Return whether the task may be started again on a host where it may have begun."""
        return self._ref.repeats

    @property
    def count(self) -> int:
        """Return the number of workers that are there, at least 1: this process is always."""
        return max(1, len(self._loads))

    def fitting(self, waiting: list[Host], here: int) -> list[Host]:
        """Take from ``waiting`` the hosts that may begin, and return them.

        Each worker has one shard at most, and no more than ``here`` hosts are worked on in this process.
        """
        rooms = {
            True: self._size * sum(load == 0 for load in self._loads.values()),
            False: here - self._here_load,
        }
        chosen: list[Host] = []
        left: list[Host] = []
        for host in waiting:
            travels = self._travels(host)
            (chosen if rooms[travels] > 0 else left).append(host)
            rooms[travels] -= 1
        waiting[:] = left
        return chosen

    def _travels(self, host: Host) -> bool:
        return host.name in self._hosts and bool(self._loads)

    def begin(self, hosts: Sequence[Host], budget: Budget, attempt: int = 1) -> None:
        """Begin to work on hosts, each where it may and where there is the least to do."""
        travel = [host for host in hosts if self._travels(host)]
        here = [host for host in hosts if not self._travels(host)]
        if here:
            self._begin_here(here, budget)
        size = min(self._size, math.ceil(len(travel) / self.count)) if travel else 1
        shards = [self._shard(travel[start : start + size], attempt) for start in range(0, len(travel), size)]
        if shards:
            threading.Thread(target=self._stream, args=(shards,), daemon=True).start()

    def _shard(self, hosts: Sequence[Host], attempt: int) -> Shard:
        worker = min(self._loads, key=lambda name: self._loads[name])
        self._loads[worker] += len(hosts)
        ref = replace(self._ref, attempt=attempt)
        specs = tuple(spec_of(host, self._host_keys) for host in hosts)
        shard = Shard(f"{ref.run}/{attempt}/{next(self._numbers)}", worker, ref, specs)
        self._shards[shard.name] = shard
        return shard

    def _stream(self, shards: Sequence[Shard]) -> None:
        try:
            if not self._is_checked:
                refuse_others(self._engine.versions())
                self._is_checked = True
            for event in self._engine.run(shards):
                self._arrivals.put(event)
        except LabrunError as error:
            self._arrivals.put(error)

    def _begin_here(self, hosts: Sequence[Host], budget: Budget) -> None:
        def settled(host: str, result: MultiResult) -> None:
            self._arrivals.put((host, result))

        runner = BudgetRunner(replace(budget, rollout=ALL_AT_ONCE, settled=settled))
        self._here.append(runner)
        self._here_load += len(hosts)
        threading.Thread(target=runner.run, args=(self._task, list(hosts)), daemon=True).start()

    def next(self, seconds: float) -> Arrival | None:
        """Return what arrives within so many seconds, None if nothing does."""
        try:
            arrival = self._arrivals.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(arrival, tuple):
            self._here_load -= 1
        elif isinstance(arrival, HostOutcome):
            worker = self._shards[arrival.shard].worker
            if arrival.lost:
                self._loads.pop(worker, None)
            elif worker in self._loads:
                self._loads[worker] -= 1
        return arrival

    def cancel(self, *, now: bool = False) -> None:
        """Let no further host begin anywhere; see :meth:`ShardEngine.cancel`."""
        for runner in self._here:
            threading.Thread(target=runner.stop, kwargs={"now": now}, daemon=True).start()
        if self._shards:
            self._engine.cancel(now=now)
