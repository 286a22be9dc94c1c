"""Restore hosts to their state before `configure`, so that everything has to be changed again."""

from __future__ import annotations

from typing import Any

from nornir.core.task import Result, Task

from benchmarks.labs import BenchLab
from labrun.errors import CommandError
from labrun.tasks.configure.converge import HostRun
from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.configure.resources import host_spec
from labrun.tasks.guest.transport import transport_of

__all__ = ["plans", "put_back", "remember", "reset", "run_everywhere"]

_SAVED = "/var/lib/bench-fresh"
_FILES = "etc/NetworkManager/system-connections etc/sysctl.d etc/ssh/sshd_config.d etc/hosts"
_KEYS = "net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.default.rp_filter"

_REMEMBER = f"""
set -eu
tar -C / -cf {_SAVED}.tar {_FILES}
/usr/sbin/sysctl {_KEYS} >{_SAVED}.sysctl
"""

# The profiles keep their UUIDs, so NetworkManager takes the restored files for the same profiles.
_RESET = f"""
set -eu
cd /
for place in {_FILES}; do find "$place" -type f -delete; done
rm -rf var/lib/labrun
tar -xf {_SAVED}.tar
/usr/sbin/sysctl -q -p {_SAVED}.sysctl
systemctl reload ssh
nmcli connection reload
for nic in $(nmcli -g DEVICE,TYPE device | sed -n 's/:ethernet$//p'); do nmcli device reapply "$nic"; done
"""


def _run_script(task: Task, script: str) -> Result:
    done = transport_of(task.host).run(script, timeout=60, sudo=True)
    if done.exit_status != 0:
        raise CommandError(f"{done.stdout}{done.stderr}", host=task.host.name, step="reset")
    return Result(task.host, result=done.stdout)


def _plan(task: Task) -> Result:
    run = HostRun(task.host.name, task.host.data["configure"])
    return Result(task.host, result=run.look(transport_of(task.host)).plan)


def _everywhere(lab: BenchLab, task: Any, **parameters: Any) -> dict[str, Any]:
    data = {name: {"configure": host_spec(lab.lab, name)} for name in lab.lab.hosts}
    with lab.engine(data) as nornir:
        results = nornir.run(task, **parameters)
    for found in results.values():
        if found[0].exception is not None:
            raise found[0].exception
    return {name: found[0].result for name, found in results.items()}


def run_everywhere(lab: BenchLab, script: str) -> dict[str, str]:
    """Run a script as root on every host and return its output by host. Raises CommandError."""
    return _everywhere(lab, _run_script, script=script)


def remember(lab: BenchLab) -> None:
    """Record the current state in each guest for :func:`put_back`."""
    run_everywhere(lab, _REMEMBER)


def put_back(lab: BenchLab) -> None:
    """Restore the state that :func:`remember` recorded."""
    run_everywhere(lab, _RESET)


def plans(lab: BenchLab) -> dict[str, HostPlan]:
    """Return what `configure` would do now, by host."""
    return _everywhere(lab, _plan)


def reset(lab: BenchLab, wanted: dict[str, HostPlan]) -> None:
    """Restore the recorded state. Raises RuntimeError if the plan does not become ``wanted`` again."""
    put_back(lab)
    for name, plan in plans(lab).items():
        if [item.name for item in _changes(plan)] != [item.name for item in _changes(wanted[name])]:
            raise RuntimeError(f"{name} is not what it was: {_changes(plan)}")


def _changes(plan: HostPlan) -> list[Any]:
    return [item for part in plan.sections for item in part.changes]
