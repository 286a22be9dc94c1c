"""The Nornir task that runs a fault's script in a guest over a channel that the fault cannot cut."""

from __future__ import annotations

from nornir.core.task import Result, Task

from labrun.ports import Transport
from labrun.progress import report

__all__ = ["SPEC", "run_script"]

SPEC = "fault"
"""The ``host.data`` key that holds ``{"script": …, "machine": [kind, uri, domain] | None}``."""

_SECONDS = 60.0


def run_script(task: Task) -> Result:
    """Run the script as root; the result is a dict of ``exit_status`` and the printed output.

    Namespaces or the guest agent are tried before SSH, which the fault itself may break. Raises a
    TransportError if no channel works.
    """
    job = task.host.data[SPEC]
    report(task.host.name, "asking")
    done = _way_in(task).run(job["script"], timeout=_SECONDS, sudo=True)
    report(task.host.name, "done")
    result = {"exit_status": done.exit_status, "stdout": done.stdout, "stderr": done.stderr}
    return Result(host=task.host, result=result)


def _way_in(task: Task) -> Transport:
    machine = task.host.data[SPEC]["machine"]
    if machine is not None:
        from labrun.tasks.provision.driver_registry import driver_for

        kind, uri, domain = machine
        transport = driver_for(kind, uri).out_of_band(domain)
        if transport is not None:
            return transport
    from labrun.tasks.guest.transport import transport_of

    return transport_of(task.host)
