"""A worker of the fleet, as a program that ``labrun fleet install`` starts on a machine.

``python -m labrun.runner.engine.fleet.worker KEYS SCHEDULER HOST PORT NAME [CERTIFICATES]``; KEYS is the
folder of the labs' keys. It ends with its input: so it never outlives the connection that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from labrun.runner.engine.fleet.certificates import bundle
from labrun.runner.engine.fleet.dask_settings import configure_dask, security_of
from labrun.runner.engine.fleet.quiet_dask import without_web
from labrun.runner.engine.fleet.work_here import use_keys

__all__ = ["CERTIFICATE", "main"]

CERTIFICATE: Final = "worker"
"""The name of a worker's certificate, in a folder of its own on its machine."""
_SHARDS: Final = 32  # at a time; the hosts of each have threads of their own
_SECONDS_TO_JOIN: Final = 30


async def _work(scheduler: str, host: str, port: int, name: str, certificates: Path | None) -> None:
    from distributed import Worker

    files = bundle(certificates, CERTIFICATE) if certificates is not None else None
    with tempfile.TemporaryDirectory(prefix="labrun-worker-") as folder:
        worker = without_web(Worker)(
            scheduler,
            host=host,
            port=port,
            protocol="tcp" if files is None else "tls",
            name=name,
            nthreads=_SHARDS,
            memory_limit=0,
            local_directory=folder,
            security=security_of(files),
            death_timeout=_SECONDS_TO_JOIN,
            dashboard=False,
        )
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, ended.set)
        threading.Thread(target=_until_input_ends, args=(loop, ended), daemon=True).start()
        async with worker:
            finished = asyncio.ensure_future(worker.finished())
            waiting = asyncio.ensure_future(ended.wait())
            await asyncio.wait({finished, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await worker.close(timeout=1, executor_wait=False)


def _until_input_ends(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(ended.set)


def main(arguments: list[str]) -> None:
    """Run the worker until its input ends, a signal comes, or the scheduler is gone."""
    keys, scheduler, host, port, name, *certificates = arguments
    configure_dask()
    use_keys(Path(keys))
    asyncio.run(_work(scheduler, host, int(port), name, Path(certificates[0]) if certificates else None))
    sys.stdout.flush()
    # Hosts in progress would keep the process: the guard in each of them ends what has begun there.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
