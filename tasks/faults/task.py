"""The Nornir task that runs a fault's script in a guest over a channel that the fault cannot cut."""

from __future__ import annotations

from dataclasses import dataclass

from nornir.core.task import Result, Task

from labrun.ports import Transport
from labrun.progress import report

__all__ = ["JOB", "FaultJob", "run_script"]

JOB = "fault"
"""The ``host.data`` key of the :class:`FaultJob`."""

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FaultJob:
    """The script for one host; ``machine`` is its driver, URI and name in libvirt, None if there is none."""

    script: str
    machine: tuple[str, str, str] | None


def run_script(task: Task) -> Result:
    """Run the script as root; the result is a ``Completed``.

    Namespaces or the guest agent are tried before SSH, which the fault itself may break. Raises a
    TransportError if no channel works.
    """
    job: FaultJob = task.host.data[JOB]
    report(task.host.name, "asking")
    completed = _transport(task, job).run(job.script, timeout=_SECONDS, sudo=True)
    report(task.host.name, "done")
    return Result(host=task.host, result=completed)


def _transport(task: Task, job: FaultJob) -> Transport:
    if job.machine is not None:
        from labrun.tasks.provision.driver_registry import driver_for

        kind, uri, domain = job.machine
        transport = driver_for(kind, uri).out_of_band(domain)
        if transport is not None:
            return transport
    from labrun.tasks.guest.inside import host_transport

    return host_transport(task.host)
