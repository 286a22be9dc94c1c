"""The engine ``dask``: workers on other machines, which a scheduler of Dask.distributed connects.

Dask promises that a task runs at least once. Here it runs at most once: it is pinned to the address of its
worker, which no other worker has, and nothing makes Dask try it again.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from labrun.errors import EngineError
from labrun.runner.engine.fleet.certificates import CONTROLLER, Bundle, bundle
from labrun.runner.engine.fleet.dask_settings import require_dask
from labrun.runner.engine.fleet.model import FleetFolder
from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.messages import Event, Failure, HostOutcome, Shard, Versions
from labrun.runner.engine.shards.versions import refuse_others

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskEngine"]

_TICK: Final = 0.5
_ANSWER_SECONDS: Final = 20
_GATHER_SECONDS: Final = 30


class DaskEngine:
    """A ShardEngine of the workers that a scheduler has.

    ``files`` are the certificates to show and to check, None = a plain connection, which is for loopback.
    """

    def __init__(self, host: str, port: int, files: Bundle | None = None):
        self._address = f"{'tcp' if files is None else 'tls'}://{host}:{port}"
        self._files = files
        self._topic = f"labrun-{uuid.uuid4().hex}"
        self._client: Client | None = None
        self._workers: dict[str, str] = {}
        self._streams: dict[str, queue.SimpleQueue[Any]] = {}
        self._changed = threading.Lock()

    @classmethod
    def at(cls, host: str, port: int, folder: FleetFolder) -> DaskEngine:
        """Return the engine at an address. If it is that of the folder's fleet, its certificates count.

        Raises UsageError if Dask.distributed is not installed.
        """
        require_dask("--engine dask://")
        fleet = folder.read()
        is_ours = fleet is not None and (fleet.address, fleet.port) == (host, port)
        is_tls = is_ours and fleet is not None and fleet.carried == "tls"
        return cls(host, port, bundle(folder.certificates, CONTROLLER) if is_tls else None)

    def start(self) -> Sequence[str]:
        """Connect to the scheduler and return the names of its workers.

        Raises EngineError if no scheduler answers, if it has no worker, or if a worker has another
        labrun, Python, Nornir or Netmiko. Later calls return the workers that are left, none without a
        scheduler: what may be done again is then done without them.
        """
        from labrun.runner.engine.fleet.client import open_client
        from labrun.runner.engine.fleet.work_here import fleet_versions

        is_first = self._client is None
        if self._client is None:
            self._client = open_client(self._address, self._files)
            self._client.subscribe_topic(self._topic, self._heard)
        self._workers = self._left()
        if is_first and not self._workers:
            hint = "`labrun fleet status` shows the fleet"
            raise EngineError("the scheduler has no worker", step="engine", hint=hint)
        refuse_others(self._asked_versions(), fleet_versions(), "`labrun fleet install` corrects it")
        return sorted(self._workers)

    def _left(self) -> dict[str, str]:
        from labrun.runner.engine.fleet.client import workers_of

        client = self._opened()
        if client.status != "running":
            return {}
        try:
            return workers_of(client)
        except (OSError, TimeoutError):  # the scheduler ends at this moment
            return {}

    def versions(self) -> Mapping[str, Versions]:
        """Return what each worker has installed, by its name; :meth:`start` has compared the sources, too."""
        return {
            name: replace(each, labrun=each.labrun.partition(" ")[0])
            for name, each in self._asked_versions().items()
        }

    def _asked_versions(self) -> Mapping[str, Versions]:
        from labrun.runner.engine.fleet.work_here import versions_here

        answers = self._asked(versions_here)
        # One that cannot tell has a labrun without a fleet, or has just ended.
        unknown = Versions("of another version", "of another version", {})
        return {
            name: from_line(answer) if isinstance(answer := answers.get(address), str) else unknown
            for name, address in self._workers.items()
        }

    def run(self, shards: Sequence[Shard]) -> Iterator[Event]:
        """Run the shards, each on the worker that it names, and yield what happens as it does."""
        stream: queue.SimpleQueue[Any] = queue.SimpleQueue()
        left = {shard.name: {host.name for host in shard.hosts} for shard in shards}
        by_name = {shard.name: shard for shard in shards}
        with self._changed:
            self._streams.update(dict.fromkeys(left, stream))
        try:
            futures = self._submitted(shards, stream)
            while left:
                for event in self._next(stream, futures, by_name):
                    if isinstance(event, HostOutcome):
                        if event.host not in left.get(event.shard, ()):
                            continue  # the list at the end repeats what has been told
                        left[event.shard].discard(event.host)
                    yield event
                for name in [name for name, hosts in left.items() if not hosts]:
                    del left[name]
        finally:
            with self._changed:
                for name in by_name:
                    self._streams.pop(name, None)

    def _submitted(self, shards: Sequence[Shard], stream: queue.SimpleQueue[Any]) -> dict[str, Future[Any]]:
        from labrun.runner.engine.fleet.work_here import run_here

        client = self._opened()
        futures: dict[str, Future[Any]] = {}
        for shard in shards:
            address = self._workers.get(shard.worker)
            if address is None or client.status != "running":
                stream.put(shard.name)
                continue
            futures[shard.name] = future = client.submit(
                run_here,
                to_line(shard).decode(),
                self._topic,
                key=f"labrun/{shard.name}",
                workers=[address],
                allow_other_workers=False,
                retries=0,
                pure=False,
            )
            # The name alone: the callback's thread must not wait for a result.
            future.add_done_callback(lambda _done, name=shard.name: stream.put(name))
        return futures

    def _next(
        self, stream: queue.SimpleQueue[Any], futures: dict[str, Future[Any]], shards: Mapping[str, Shard]
    ) -> list[Event]:
        """Return the next events, none after a moment without any. A name is a shard's that has ended."""
        try:
            item = stream.get(timeout=_TICK)
        except queue.Empty:
            if self._opened().status == "running":
                return []
            names = list(shards)  # the scheduler is gone, and with it every worker
            return [event for name in names for event in self._ended(shards[name], futures.pop(name, None))]
        if isinstance(item, str):
            return self._ended(shards[item], futures.pop(item, None))
        return [item]

    def _ended(self, shard: Shard, future: Future[Any] | None) -> list[Event]:
        """Return the outcomes of a shard that has ended, or that was lost; its result is released."""
        why = "it is not there"
        events: list[Event] = []
        if future is not None:
            try:
                events = [from_line(line) for line in future.result(timeout=_GATHER_SECONDS)]
            except Exception as error:  # noqa: BLE001 - whatever Dask raises, nobody knows what was done
                why = _why_lost(error)
            finally:
                future.release()
        told = {event.host for event in events if isinstance(event, HostOutcome)}
        reason = f"the worker {shard.worker} was lost: {why}"
        failure = Failure("WorkerLostError", reason, hint="`labrun fleet status` shows the fleet")
        lost = [
            HostOutcome(shard.name, host.name, failure=failure, failed=True, lost=True)
            for host in shard.hosts
            if host.name not in told
        ]
        return [*events, *lost]

    def _heard(self, event: tuple[float, str]) -> None:
        told: Event = from_line(event[1])
        with self._changed:
            stream = self._streams.get(told.shard)
        if stream is not None:
            stream.put(told)

    def cancel(self, *, now: bool = False) -> None:
        """Set the run's flag in every worker: no further host begins. ``now`` also abandons changes."""
        from labrun.runner.engine.fleet.work_here import cancel_here

        if self._client is not None and self._client.status == "running":
            self._asked(cancel_here, self._topic, now)

    def close(self) -> None:
        """Close the connection to the scheduler. The fleet goes on: it was not started here."""
        from labrun.runner.engine.fleet.work_here import forget_here

        if self._client is None:
            return
        client = self._client
        if client.status == "running":
            self._asked(forget_here, self._topic)
        self._client = None
        client.close(timeout=2)

    def _asked(self, function: Any, *arguments: object) -> dict[str, Any]:
        """Return what a function returns in each worker that answers, by address.

        One that has left is not asked: Dask would try to connect to it for a while.
        """
        there = sorted({*self._workers.values()} & {*self._left().values()})
        if not there:
            return {}
        asking = self._opened().run(function, *arguments, workers=there, on_error="return")
        return {address: answer for address, answer in asking.items() if not isinstance(answer, Exception)}

    def _opened(self) -> Client:
        assert self._client is not None, "start() comes first"
        return self._client


def _why_lost(error: Exception) -> str:
    kinds = {
        "KilledWorker": "its process has ended",
        "NoValidWorkerError": "it has left the fleet",
        "FutureCancelledError": "the scheduler is gone",
        "FuturesCancelledError": "the scheduler is gone",
        "CancelledError": "the scheduler is gone",
        "TimeoutError": "it does not answer",
    }
    name = type(error).__name__
    return kinds.get(name, f"{name}: {error}" if str(error) else name)
