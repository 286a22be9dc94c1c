"""Which engine a run uses, and what is said of one that there is none of."""

from __future__ import annotations

import os

import pytest

from labrun.errors import UsageError
from labrun.runner.cli.invocation import BY_SIZE
from labrun.runner.engine.shards.choice import LARGE, SHARD_SIZE, chosen, engine_of, shard_size
from labrun.runner.engine.shards.dask_engine import DaskEngine
from labrun.runner.engine.shards.processes import ProcessEngine


@pytest.mark.parametrize(
    ("hosts", "processors", "engine"),
    [
        (1, 64, "threads"),
        (255, 4, "threads"),
        (256, 3, "threads"),
        (100_000, 2, "threads"),
        (256, 4, "processes"),
        (5000, 16, "processes"),
    ],
)
def test_the_engine_goes_by_the_number_of_hosts_and_processors(
    hosts: int, processors: int, engine: str
) -> None:
    assert (LARGE.hosts, LARGE.processors) == (256, 4)
    assert chosen(BY_SIZE, hosts, processors) == engine


@pytest.mark.parametrize("name", ["threads", "processes", "dask://192.0.2.1:8786"])
@pytest.mark.parametrize("hosts", [1, 5000])
def test_an_engine_that_is_named_is_used(name: str, hosts: int) -> None:
    assert chosen(name, hosts, 1) == chosen(name, hosts, 64) == name


def test_the_processors_are_those_that_labrun_may_use() -> None:
    here = len(os.sched_getaffinity(0))
    assert chosen(BY_SIZE, 5000) == chosen(BY_SIZE, 5000, here)


def test_threads_need_no_workers() -> None:
    assert engine_of("threads", 5000, 64) is None
    assert engine_of("processes", 0, 64) is None


@pytest.mark.parametrize(("hosts", "most"), [(1, 1), (64, 1), (65, 2), (5000, 10**6)])
def test_there_are_no_more_workers_than_shards_and_processors(hosts: int, most: int) -> None:
    engine = engine_of("processes", hosts, 64)
    assert isinstance(engine, ProcessEngine)
    assert engine.count == min(most, len(os.sched_getaffinity(0)))


def test_the_size_of_shards_is_set_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABRUN_SHARD_SIZE", raising=False)
    assert shard_size() == SHARD_SIZE
    monkeypatch.setenv("LABRUN_SHARD_SIZE", "2")
    assert shard_size() == 2


@pytest.mark.parametrize("text", ["0", "-1", "129", "two", "1.5", "\u0663", "9" * 5000])
def test_another_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LABRUN_SHARD_SIZE", text)
    with pytest.raises(UsageError) as refused:
        shard_size()
    assert str(refused.value) == (
        f"LABRUN_SHARD_SIZE: {text!r} is not a size of shards (a number of hosts from 1 to 128)"
    )
    assert refused.value.exit_code == 2


def test_nobody_is_called_before_an_engine_is_started() -> None:
    engine = engine_of("dask://192.0.2.1:8786", 2, 64)
    assert isinstance(engine, DaskEngine)
    engine.close()
