"""Hosts for worker processes: many names of one real sshd on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Hosts, Inventory

from labrun.runner.engine.budget import Budget
from labrun.runner.engine.nornir import build_nornir, closing_connections
from labrun.runner.engine.shards.processes import ProcessEngine
from labrun.runner.engine.shards.shard_runner import ShardRunner
from tests.loopback_sshd import LoopbackSshd, loopback_sshd

Over = Callable[..., Nornir]
_runs = itertools.count(1)


@pytest.fixture(scope="package")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("shards"), MaxSessions="100") as running:
        yield running


@pytest.fixture
def over(sshd: LoopbackSshd) -> Iterator[Over]:
    """Return what makes a Nornir of ``count`` hosts: over an engine, or without one in threads."""
    with ExitStack() as stack:

        def made(
            count: int, budget: Budget, engine: ProcessEngine | None = None, *, size: int = 4, **options: Any
        ) -> Nornir:
            names = [f"host{number:02}" for number in range(count)]
            hosts = Hosts({name: sshd.host(name, **options) for name in names})
            inventory = Inventory(hosts=hosts, groups=Groups(), defaults=Defaults())
            stack.enter_context(closing_connections(inventory))
            runner = (
                ShardRunner(budget, engine, size, {}, f"run{next(_runs)}") if engine is not None else None
            )
            return build_nornir(inventory, budget, runner=runner)

        yield made


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    made = ProcessEngine(2)
    try:
        made.start()
        yield made
    finally:
        made.close()
