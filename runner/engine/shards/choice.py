"""Which engine a run uses, how many workers it has, and the size of their shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from labrun.errors import UsageError
from labrun.runner.cli.invocation import BY_SIZE, THREADS

if TYPE_CHECKING:
    from labrun.runner.engine.shards.engine import ShardEngine

__all__ = ["DASK", "LARGE", "PROCESSES", "SHARD_SIZE", "Large", "chosen", "engine_of", "shard_size"]

PROCESSES: Final = "processes"
DASK: Final = "dask://"
SHARD_SIZE: Final = 64
"""The number of hosts of a shard at most; the variable ``LABRUN_SHARD_SIZE`` sets another."""
_LARGEST: Final = 128


@dataclass(frozen=True, slots=True)
class Large:
    """From how many hosts on worker processes are chosen, and for how many processors."""

    hosts: int
    processors: int


LARGE: Final = Large(hosts=256, processors=4)
"""What ``processes`` saves has to be more than what its workers cost: see ``docs/scale.md``."""


def chosen(name: str, hosts: int, processors: int | None = None) -> str:
    """Return the engine for so many hosts: ``name`` itself, unless it is BY_SIZE.

    ``processors`` are those that this process may use, None = those that it has.
    """
    if name != BY_SIZE:
        return name
    if hosts < LARGE.hosts:
        return THREADS
    available = len(os.sched_getaffinity(0)) if processors is None else processors
    return PROCESSES if available >= LARGE.processors else THREADS


def shard_size() -> int:
    """Return the number of hosts of a shard at most. Raises UsageError if the variable is no such number."""
    text = os.environ.get("LABRUN_SHARD_SIZE", "")
    if not text:
        return SHARD_SIZE
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _LARGEST):
        hint = f"a number of hosts from 1 to {_LARGEST}"
        raise UsageError(f"{text!r} is not a size of shards", step="LABRUN_SHARD_SIZE", hint=hint)
    return int(text)


def engine_of(name: str, hosts: int, size: int, state_dir: Path | None = None) -> ShardEngine | None:
    """Return the engine of that name for so many hosts, None for ``threads``. Raises UsageError.

    The name is one that :func:`chosen` returns.
    ``state_dir`` is where the fleet's certificates are, as in ``--state-dir``.
    """
    if name == THREADS or not hosts:
        return None
    if name == PROCESSES:
        from labrun.runner.engine.shards.processes import ProcessEngine

        return ProcessEngine(min(len(os.sched_getaffinity(0)), -(-hosts // size)))
    from labrun.runner.engine.fleet.model import FleetFolder
    from labrun.runner.engine.shards.dask_engine import DaskEngine

    host, _, port = name.removeprefix(DASK).rpartition(":")
    return DaskEngine.at(host, int(port), FleetFolder.of(state_dir))
