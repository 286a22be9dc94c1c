"""Which engine a run uses, how many workers it has, and the size of their shards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from labrun.errors import UsageError
from labrun.runner.cli.invocation import THREADS

if TYPE_CHECKING:
    from labrun.runner.engine.shards.engine import ShardEngine

__all__ = ["DASK", "PROCESSES", "SHARD_SIZE", "engine_of", "shard_size"]

PROCESSES: Final = "processes"
DASK: Final = "dask://"
SHARD_SIZE: Final = 64
"""The number of hosts of a shard at most; the variable ``LABRUN_SHARD_SIZE`` sets another."""
_LARGEST: Final = 128


def shard_size() -> int:
    """Return the number of hosts of a shard at most. Raises UsageError if the variable is no such number."""
    text = os.environ.get("LABRUN_SHARD_SIZE", "")
    if not text:
        return SHARD_SIZE
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _LARGEST):
        hint = f"a number of hosts from 1 to {_LARGEST}"
        raise UsageError(f"{text!r} is not a size of shards", step="LABRUN_SHARD_SIZE", hint=hint)
    return int(text)


def engine_of(name: str, hosts: int, size: int) -> ShardEngine | None:
    """Return the engine of that name for so many hosts, None for ``threads``. Raises UsageError."""
    if name == THREADS or not hosts:
        return None
    if name == PROCESSES:
        from labrun.runner.engine.shards.processes import ProcessEngine

        return ProcessEngine(min(len(os.sched_getaffinity(0)), -(-hosts // size)))
    raise UsageError(f"{name}: this labrun has no workers on other machines", step="--engine")
