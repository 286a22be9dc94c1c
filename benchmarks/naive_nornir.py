"""The same work as in most Nornir examples: Netmiko's interactive shell, one task per command."""

from __future__ import annotations

import base64
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from nornir import InitNornir
from nornir.core.task import Result, Task
from nornir_netmiko.tasks import netmiko_send_command

from benchmarks.peer_work import CHECKS


def configure(task: Task) -> Result:
    """Write the files that differ, activate them, and check the result."""
    work: dict[str, Any] = task.host.data["work"]
    changed = set()
    for path in work["remove"]:
        if _said(task, f"sudo ls {path} 2>/dev/null"):
            _said(task, f"sudo rm {path}")
            changed.add("profile")
    for path, kind, mode, text in work["write"]:
        encoded = base64.b64encode(text.encode()).decode()
        if _said(task, f"sudo base64 -w0 {path} 2>/dev/null; echo") != encoded:
            line = f"echo {encoded} | base64 -d | sudo install -m {mode} /dev/stdin {path}"
            _said(task, line, cmd_verify=False)  # a line this long is not echoed verbatim
            changed.add(kind)
    for kind, line in work["apply"].items():
        if kind in changed:
            _said(task, f"sudo sh -c {shlex.quote(line)}")
    for line in CHECKS:
        _said(task, f"sudo {line}")
    return Result(task.host)


def _said(task: Task, line: str, **options: bool) -> str:
    done = task.run(netmiko_send_command, command_string=line, read_timeout=60, **options)
    return str(done.result).strip()


def main() -> None:
    """Do the work described by the file that the command line names."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    directory = Path(sys.argv[1]).parent
    nornir = InitNornir(
        inventory={
            "plugin": "SimpleInventory",
            "options": {
                "host_file": str(directory / "hosts.yaml"),
                "group_file": str(directory / "groups.yaml"),
                "defaults_file": str(directory / "defaults.yaml"),
            },
        },
        runner={"plugin": "threaded", "options": {"num_workers": len(work)}},
        logging={"enabled": False},
    )
    for name, host in nornir.inventory.hosts.items():
        host.data["work"] = work[name]
    result = nornir.run(configure)
    nornir.close_connections()
    for name, found in result.failed_hosts.items():
        print(f"{name}: {found.exception}", file=sys.stderr)
    sys.exit(1 if result.failed_hosts else 0)


if __name__ == "__main__":
    main()
