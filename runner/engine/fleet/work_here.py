"""What a worker of the fleet does for a controller: functions that Dask calls by their name.

Nothing but text travels: a shard as a line of JSON, and events as such lines.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from labrun.runner.engine.fleet.wheel import source_of
from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.messages import Event, HostOutcome, HostSpec, Shard, Versions
from labrun.runner.engine.shards.versions import own_versions
from labrun.runner.engine.shards.work import ShardWork

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["cancel_here", "fleet_versions", "forget_here", "run_here", "use_keys", "versions_here"]

_lock: Final = threading.Lock()
_works: Final[dict[str, ShardWork]] = {}
_running: Final[Counter[str]] = Counter()
_orphans: Final[set[str]] = set()
_keys: Final[list[Path]] = []
_LOOK_SECONDS: Final = 1.0


def use_keys(folder: Path) -> None:
    """Look for labs' keys in this folder, if they are not where the controller has them."""
    _keys[:] = [folder]


def fleet_versions() -> Versions:
    """Return what this process runs with; that of labrun tells two sources of one version apart."""
    own = own_versions()
    return replace(own, labrun=f"{own.labrun} (source {source_of()})")


def versions_here() -> str:
    """Return :func:`fleet_versions` as a line."""
    return to_line(fleet_versions()).decode()


def run_here(line: str, topic: str) -> list[str]:
    """Run a shard for the controller of a topic, tell it the events as they come, and return the outcomes."""
    from distributed import get_worker

    shard = from_line(line)
    if not isinstance(shard, Shard):
        raise TypeError("not a shard")
    worker = get_worker()
    outcomes: list[str] = []

    def send(event: Event) -> None:
        text = to_line(event).decode()
        if isinstance(event, HostOutcome):
            outcomes.append(text)
        worker.log_event(topic, text)

    shard = replace(shard, hosts=tuple(_at_home(spec) for spec in shard.hosts))
    with _while_wanted(worker, topic):
        _work_of(topic).run(shard, send)
    return outcomes


def cancel_here(topic: str, now: bool) -> None:
    """Let no further host of this controller begin; ``now`` also abandons changes."""
    _work_of(topic).cancel(now=now)


def forget_here(topic: str) -> None:
    """Forget a controller that has come to its end."""
    with _lock:
        _orphans.discard(topic)
        work = _works.pop(topic, None)
        is_last = not _works
    if work is not None and is_last:
        work.tidy()
    elif work is not None:
        work.forget()


def _work_of(topic: str) -> ShardWork:
    with _lock:
        if topic not in _works:
            _works[topic] = ShardWork()
        return _works[topic]


@contextlib.contextmanager
def _while_wanted(worker: Worker, topic: str) -> Iterator[None]:
    """Let no further host begin once the controller is gone: then Dask drops the task, which still runs.

    Such a controller does not say goodbye: it is forgotten with the last of its shards.
    """
    key, ended = worker.get_current_task(), threading.Event()

    def is_dropped() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state in ("cancelled", "released")

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if is_dropped():
                with _lock:
                    _orphans.add(topic)
                _work_of(topic).cancel()
                return

    with _lock:
        _running[topic] += 1
    watching = threading.Thread(target=watch, name="labrun-while-wanted", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
        with _lock:
            _running[topic] -= 1
            is_last = not _running[topic]
            if is_last:
                del _running[topic]
            is_orphan = topic in _orphans or is_dropped()
        if is_last and is_orphan:
            forget_here(topic)


def _at_home(spec: HostSpec) -> HostSpec:
    """Return the host with the files of this machine: the lab's key that `labrun fleet install` put here."""
    key, known = spec.key_file, spec.known_hosts
    if key is not None and not Path(key).exists():
        here = [folder / Path(key).parent.name / Path(key).name for folder in _keys]
        key = next((str(path) for path in here if path.exists()), key)
    if known is not None and not Path(known).exists() and spec.host_keys:
        known = None
    jump = _at_home(spec.jump) if spec.jump is not None else None
    return replace(spec, key_file=key, known_hosts=known, jump=jump)
