"""The engine ``processes``: worker processes on this machine, each started anew and joined by two pipes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from labrun.errors import LabrunError
from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.messages import Event, HostOutcome, Shard, Versions
from labrun.runner.engine.shards.process_worker import BEAT, CANCEL, END, READY, RUN, WORKING

__all__ = ["ProcessEngine"]

_MODULE: Final = "labrun.runner.engine.shards.process_worker"
# A worker imports what tasks need, on a machine that may be very busy (seconds).
_PATIENCE: Final = 120.0
# It ends by itself once its input has ended (seconds).
_LAST_MOMENT: Final = 2.0
_MOST_BEATS: Final = 12
_Stream: TypeAlias = "SimpleQueue[tuple[str, Event | None]]"
# The events of shards, each with the shard's name; None = it is over.


class ProcessEngine:
    """A :class:`ShardEngine` of ``count`` processes, which share nothing with this one but its network.

    They are in sessions of their own, so that Ctrl-C in a terminal does not reach them, and end with this
    process, however it ends.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: dict[str, _Worker] = {}

    def start(self) -> Sequence[str]:
        """Start the processes and return their names; they may still be importing."""
        if not self._workers:
            self._workers = {worker.name: worker for worker in map(_Worker, range(1, self.count + 1))}
        return tuple(self._workers)

    def versions(self) -> Mapping[str, Versions]:
        """Return each worker's versions. Raises LabrunError for one that does not start."""
        return {name: worker.versions() for name, worker in self._workers.items()}

    def run(self, shards: Sequence[Shard]) -> Iterator[Event]:
        """Run the shards and yield their events."""
        events: _Stream = SimpleQueue()
        left = {shard.name: {host.name for host in shard.hosts} for shard in shards}
        for shard in shards:
            self._workers[shard.worker].run(shard, events)
        silence = _Silence({shard.worker: self._workers[shard.worker] for shard in shards})
        while left:
            try:
                shard_name, event = events.get(timeout=BEAT)
            except Empty:
                silence.note()
                continue
            if event is None:
                for host in sorted(left.pop(shard_name, ())):
                    yield HostOutcome(shard_name, host, lost=True, failed=True)
                continue
            if isinstance(event, HostOutcome) and shard_name in left:
                left[shard_name].discard(event.host)
            yield event

    def cancel(self, *, now: bool = False) -> None:
        """Tell every worker to let no further host begin."""
        for worker in self._workers.values():
            worker.send(CANCEL, now)

    def close(self) -> None:
        """End the processes: their input ends, and then they are killed."""
        for worker in self._workers.values():
            worker.hang_up()
        for worker in self._workers.values():
            worker.end()

    def processes(self) -> Mapping[str, int]:
        """Return the process ID of each worker, by its name."""
        return {name: worker.process.pid for name, worker in self._workers.items()}


class _Silence:
    """How long the workers of a stream have said nothing: one that is stopped is as good as lost."""

    def __init__(self, workers: Mapping[str, _Worker]) -> None:
        self._workers = workers
        self._lines = {name: worker.lines for name, worker in workers.items()}
        self._beats = dict.fromkeys(workers, 0)

    def note(self) -> None:
        """Note that nothing came for a beat, and kill a worker that was silent for too many.

        Beats are counted, not seconds: this process may have been stopped itself.
        """
        for name, worker in self._workers.items():
            self._beats[name] = self._beats[name] + 1 if worker.lines == self._lines[name] else 0
            self._lines[name] = worker.lines
            if self._beats[name] >= _MOST_BEATS and worker.has_started:
                worker.process.kill()


class _Worker:
    """One process, and the thread that reads from it."""

    def __init__(self, number: int) -> None:
        self.name = f"worker-{number}"
        self.process = subprocess.Popen(
            # Not from the current folder, where a user may have modules of any name.
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._streams: dict[str, _Stream] = {}
        self._versions: Versions | None = None
        self._is_lost = False
        self.lines = 0
        self._reader = threading.Thread(target=self._read, name=f"labrun-{self.name}", daemon=True)
        self._reader.start()

    def versions(self) -> Versions:
        with self._changed:
            self._changed.wait_for(lambda: self._versions is not None or self._is_lost, _PATIENCE)
            if self._versions is None:
                how = "ended before it had started" if self._is_lost else f"did not start in {_PATIENCE:g} s"
                raise LabrunError(f"{self.name} {how}", step="engine", hint="--engine threads needs none")
            return self._versions

    @property
    def has_started(self) -> bool:
        return self._versions is not None

    def run(self, shard: Shard, events: _Stream) -> None:
        with self._changed:
            if not self._is_lost:
                self._streams[shard.name] = events
        if shard.name not in self._streams or not self.send(RUN, shard):
            self._over(shard.name, events)

    def send(self, kind: str, value: object) -> bool:
        """Send a message. Return whether the worker can still read one."""
        assert self.process.stdin is not None
        try:
            with self._writing:
                self.process.stdin.write(to_line((kind, value)))
                self.process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self.lines += 1
                self._heard(*from_line(line))
        except (OSError, ValueError, TypeError):
            pass  # half a line, of a process that was killed as it wrote
        with self._changed:
            self._is_lost = True
            streams = dict(self._streams)
            self._changed.notify_all()
        for name, events in streams.items():
            self._over(name, events)

    def _heard(self, kind: str, value: Any) -> None:
        if kind == READY:
            with self._changed:
                self._versions = value
                self._changed.notify_all()
        elif kind == WORKING:
            events = self._streams.get(value.shard)
            if events is not None:
                events.put((value.shard, value))
        elif kind == END:
            self._over(value, self._streams[value])

    def _over(self, name: str, events: _Stream) -> None:
        with self._changed:
            self._streams.pop(name, None)
        events.put((name, None))

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        try:
            self.process.wait(_LAST_MOMENT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
