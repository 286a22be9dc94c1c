"""How labrun runs Dask: nothing is ever done twice, nothing is looked at from outside, little is kept."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from labrun.errors import UsageError
from labrun.libvirt_package import how_to_install_extra
from labrun.runner.engine.fleet.certificates import Bundle

if TYPE_CHECKING:
    from distributed import Security

__all__ = ["NO_WORKER_SECONDS", "configure_dask", "require_dask", "security_of"]

NO_WORKER_SECONDS: Final = 5
"""How long a shard waits for its worker before it counts as lost."""
_SETTINGS: Final[Mapping[str, Any]] = {
    # A worker that dies or leaves in the middle may have begun: its tasks fail, and are not done elsewhere.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.no-workers-timeout": f"{NO_WORKER_SECONDS}s",
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.worker.daemon": True,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "20s",
    "distributed.comm.retry.count": 0,
    # Of the events that a worker tells, Dask would keep the latest of each run for as long as it runs.
    "distributed.admin.low-level-log-length": 0,
    "distributed.client.scheduler-info-interval": "1s",
    "distributed.diagnostics.nvml": False,
    "distributed.diagnostics.computations.max-history": 0,
}


def require_dask(what: str) -> None:
    """Raise UsageError if Dask.distributed is not installed; ``what`` needs it."""
    if find_spec("distributed") is None:
        raise UsageError(
            f"{what} needs Dask.distributed, which is not installed", hint=how_to_install_extra("fleet")
        )


def configure_dask() -> None:
    """Give this process's Dask labrun's settings, whatever the files in the user's home say."""
    # Imported by name: only this makes the defaults of `distributed` known to its configuration.
    importlib.import_module("distributed")
    import dask.config

    dask.config.set(_SETTINGS)


def security_of(files: Bundle | None) -> Security | None:
    """Return what one end shows and demands: TLS both ways with these files, None = plain, on loopback."""
    if files is None:
        return None
    from distributed import Security

    authority, certificate, key = map(str, (files.authority, files.certificate, files.key))
    return Security(
        require_encryption=True,
        tls_ca_file=authority,
        tls_client_cert=certificate,
        tls_client_key=key,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    )
