"""The seam: what runs shards, on this machine or on others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from labrun.runner.engine.shards.messages import Event, Shard, Versions

__all__ = ["ShardEngine"]


class ShardEngine(Protocol):
    """Workers that run shards. The controller alone decides which host begins, and on which worker.

    An engine never runs a shard twice and never moves it to another worker. All methods may be called from
    several threads at once, and :meth:`run` while other streams are open.
    """

    def start(self) -> Sequence[str]:
        """Start or find the workers and return their names. Raises LabrunError if there is none."""
        ...

    def versions(self) -> Mapping[str, Versions]:
        """Return what each worker has installed, by its name."""
        ...

    def run(self, shards: Sequence[Shard]) -> Iterator[Event]:
        """Run the shards, each on the worker that it names, and yield what happens as it does.

        Every host has exactly one HostOutcome, the last of its events. Where the worker is lost, or is not
        there, that is one with ``lost`` for each of its hosts that has none.
        """
        ...

    def cancel(self, *, now: bool = False) -> None:
        """Let no further host begin: what only reads ends in two seconds, a change is brought to its end.

        With ``now``, changes are not waited for either. Open streams still yield an outcome for every host.
        """
        ...

    def close(self) -> None:
        """End the workers that :meth:`start` has started. It may be called again."""
        ...
