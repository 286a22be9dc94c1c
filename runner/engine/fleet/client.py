"""A connection to the fleet's scheduler, made in the network that labrun was started in."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from labrun.errors import EngineError
from labrun.hypervisor import leave_network
from labrun.runner.engine.fleet.certificates import Bundle
from labrun.runner.engine.fleet.dask_settings import configure_dask, security_of

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "open_client", "workers_of"]

T = TypeVar("T")
_SECONDS: Final = 10


def open_client(address: str, files: Bundle | None) -> Client:
    """Return a client of the scheduler at an address such as ``tcp://127.0.0.1:14786``.

    Raises EngineError if none answers there, or if it does not accept the certificate.
    """
    return _in_own_network(lambda: _opened(address, files))


@contextlib.contextmanager
def connected(address: str, files: Bundle | None) -> Iterator[Client]:
    """Yield such a client, and close it."""
    client = open_client(address, files)
    try:
        yield client
    finally:
        client.close(timeout=2)


def workers_of(client: Client) -> dict[str, str]:
    """Return the address of each worker by its name."""
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return {str(worker["name"]): address for address, worker in workers.items()}


def _opened(address: str, files: Bundle | None) -> Client:
    configure_dask()
    from distributed import Client

    # What Dask has to say about a connection, labrun says in its own words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        # Dask tries for all the time it has what is refused at once.
        _knock(address)
        return Client(
            address,
            timeout=_SECONDS,
            security=security_of(files),
            set_as_default=False,
            name="labrun",
        )
    except (OSError, TimeoutError, ValueError) as error:
        where = address.partition("://")[2]
        raise EngineError(
            f"no scheduler answers at {where}: {_why(error)}",
            step="engine",
            hint="`labrun fleet status` shows the fleet, `labrun fleet install` starts it",
        ) from error


def _knock(address: str) -> None:
    host, _, port = address.partition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()


def _why(error: BaseException) -> str:
    """Return the innermost reason: Dask wraps it in texts of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _in_own_network(function: Callable[[], T]) -> T:
    """Call a function in a thread that is in the network of labrun's start, as are all threads it starts.

    The command itself may have moved into libvirtd's, where the loopback interface is another one.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def call() -> None:
        try:
            leave_network()
            done.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            failed.append(error)

    thread = threading.Thread(target=call, name="labrun-fleet")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
