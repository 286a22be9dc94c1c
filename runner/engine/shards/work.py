"""What a worker does with a shard: the usual runner on its hosts, and an outcome as soon as one has ended."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import MultiResult

from labrun.progress import LOGGER_NAME
from labrun.runner.cli.interruption import Interruption
from labrun.runner.engine.budget import Budget, OnSignal
from labrun.runner.engine.nornir import build_nornir
from labrun.runner.engine.results import cause_of
from labrun.runner.engine.runner_plugin import BudgetRunner
from labrun.runner.engine.shards.codec import encode
from labrun.runner.engine.shards.failures import failure_of
from labrun.runner.engine.shards.hosts import host_of
from labrun.runner.engine.shards.messages import Event, HostOutcome, Progress, Shard
from labrun.runner.engine.shards.tasks import task_of
from labrun.tasks.guest.jump_host import SHARED
from labrun.tasks.guest.transport import port_of

__all__ = ["Send", "ShardWork"]

Send = Callable[[Event], None]
"""Called with each event, from any thread."""


class ShardWork:
    """The shards of one worker process. Each runs in the thread that calls :meth:`run`, several at a time."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._changed = threading.Lock()
        self._runs: dict[str, BudgetRunner] = {}
        self._stopped = False
        self._progress = _Forwarded()
        logger = logging.getLogger(LOGGER_NAME)
        logger.setLevel(logging.INFO)
        logger.addHandler(self._progress)

    def run(self, shard: Shard, send: Send) -> None:
        """Run a shard, and send the outcome of each of its hosts once, and what happens before.

        It never raises: what goes wrong with the whole shard is the failure of each host without an outcome.
        """
        told: set[str] = set()

        def outcome(host: str, made: HostOutcome) -> None:
            if host not in told:
                told.add(host)
                send(made)

        try:
            hosts = {spec.name: host_of(spec, self._place) for spec in shard.hosts}
            with self._progress.to(shard, send):
                self._work(
                    shard, hosts, lambda host, result: outcome(host, _outcome(shard, hosts[host], result))
                )
        except Exception as error:  # noqa: BLE001 - the controller has to hear of every host
            for spec in shard.hosts:
                outcome(spec.name, HostOutcome(shard.name, spec.name, failure=failure_of(error), failed=True))

    def _place(self) -> Path:
        """Return a folder of the worker's own, which is made when the first host needs it."""
        with self._changed:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="labrun-worker-")
            return Path(self._folder.name)

    def _work(
        self, shard: Shard, hosts: dict[str, Host], settled: Callable[[str, MultiResult], None]
    ) -> None:
        ref = shard.task
        budget = Budget(
            ref.limits.workers,
            ref.limits.connectors,
            ref.limits.deadline,
            # A signal is the controller's business: it cancels.
            on_signal=OnSignal(interruption=Interruption() if ref.reads else None, quiet=True),
            settled=settled,
            # A login that ends after its host was given up is closed as well: the worker lives on.
            keeps_logins=False,
        )
        inventory = Inventory(hosts=Hosts(hosts), groups=Groups(), defaults=Defaults())
        nornir = build_nornir(inventory, budget, dry_run=ref.dry_run)
        runner = nornir.runner
        assert isinstance(runner, BudgetRunner)
        with self._changed:
            self._runs[shard.name] = runner
            if self._stopped:
                runner.stop()
        try:
            task = task_of(ref.function)
            also: dict[str, Any] = {"attempt": ref.attempt} if "attempt" in signature(task).parameters else {}
            nornir.run(task, **ref.params, **also)
        finally:
            with self._changed:
                del self._runs[shard.name]
            _close(hosts)

    def tidy(self) -> None:
        """Log out of jump hosts, which all shards share, and remove what the worker keeps on disk."""
        SHARED.close()
        self.forget()

    def forget(self) -> None:
        """Remove what these shards keep on disk, and forward no more progress; other work may go on."""
        logging.getLogger(LOGGER_NAME).removeHandler(self._progress)
        if self._folder is not None:
            self._folder.cleanup()

    def cancel(self, *, now: bool = False) -> None:
        """Let no further host begin in any shard; ``now`` also abandons changes in progress."""
        with self._changed:
            self._stopped = True
            runs = list(self._runs.values())
        for run in runs:
            # Each waits a moment for its hosts.
            threading.Thread(target=run.stop, kwargs={"now": now}, daemon=True).start()


def _outcome(shard: Shard, host: Host, result: MultiResult) -> HostOutcome:
    error = cause_of(result)
    first = result[0]
    made = HostOutcome(
        shard.name,
        host.name,
        result=None if error is not None else first.result,
        failure=None if error is None else failure_of(error),
        failed=bool(first.failed),
        changed=bool(first.changed),
        diff=str(first.diff or ""),
        port=port_of(host),
    )
    try:
        encode(made.result)
    except TypeError as unknown:
        return HostOutcome(shard.name, host.name, failure=failure_of(unknown), failed=True)
    return made


def _close(hosts: dict[str, Host]) -> None:
    for host in hosts.values():
        for name in list(host.connections):
            with contextlib.suppress(Exception):
                host.close_connection(name)


class _Forwarded(logging.Handler):
    """Reports of progress on their way to the controller, each in the name of the host's shard."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._of: dict[str, tuple[str, Send]] = {}

    @contextlib.contextmanager
    def to(self, shard: Shard, send: Send) -> Iterator[None]:
        self._of.update({host.name: (shard.name, send) for host in shard.hosts})
        try:
            yield
        finally:
            for host in shard.hosts:
                self._of.pop(host.name, None)

    def emit(self, record: logging.LogRecord) -> None:
        host = str(getattr(record, "host", ""))
        shard, send = self._of.get(host, ("", None))
        if send is not None:
            send(Progress(shard, host, str(getattr(record, "stage", "")), str(getattr(record, "detail", ""))))
