"""The fleet's scheduler, as a program that ``labrun fleet install`` starts where labrun is typed.

``python -m labrun.runner.engine.fleet.scheduler ADDRESS PORT [CERTIFICATES]``. It ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from labrun.runner.engine.fleet.certificates import CONTROLLER, bundle
from labrun.runner.engine.fleet.dask_settings import configure_dask, security_of
from labrun.runner.engine.fleet.quiet_dask import without_web

__all__ = ["main"]


async def _serve(address: str, port: int, certificates: Path | None) -> None:
    from distributed import Scheduler

    files = bundle(certificates, CONTROLLER) if certificates is not None else None
    protocol = "tcp" if files is None else "tls"
    scheduler = without_web(Scheduler)(
        host=address, port=port, protocol=protocol, security=security_of(files), dashboard=False
    )
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with scheduler:
        await ended.wait()


def main(arguments: list[str]) -> None:
    """Run the scheduler until a signal ends it."""
    address, port, *certificates = arguments
    configure_dask()
    asyncio.run(_serve(address, int(port), Path(certificates[0]) if certificates else None))


if __name__ == "__main__":
    main(sys.argv[1:])
