"""A controller in a process of its own, which tests kill: one script on many names of a loopback sshd.

Its arguments are ENGINE SSHD-PORT DIRECTORY HOSTS SECONDS SCRIPT; ENGINE is ``processes`` or the port of a
scheduler. One host at a time in each worker, and a signal waits for them.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import cast

from nornir.core.inventory import Defaults, Groups, Hosts, Inventory

from labrun.runner.commands.exec import run_command
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.nornir import build_nornir
from labrun.runner.engine.shards.dask_engine import DaskEngine
from labrun.runner.engine.shards.processes import ProcessEngine
from labrun.runner.engine.shards.shard_runner import ShardRunner
from labrun.state import LabState
from tests.loopback_sshd import LoopbackSshd

__all__ = ["controller"]


def controller(
    engine: str, sshd: LoopbackSshd, hosts: int, seconds: float, script: str
) -> subprocess.Popen[bytes]:
    """Start one. The caller ends it."""
    where = [engine, str(sshd.port), str(sshd.directory), str(hosts), str(seconds), script]
    return subprocess.Popen([sys.executable, "-m", __name__, *where], stdin=subprocess.DEVNULL)


def main(engine: str, port: str, directory: str, hosts: str, seconds: str, script: str) -> None:
    """Run the script once on each of the hosts."""
    state = LabState.open("loop", "test:///default", Path(directory, "state"))
    nobody = cast("subprocess.Popen[bytes]", None)
    sshd = LoopbackSshd(int(port), getpass.getuser(), Path(directory), state, nobody)
    names = [f"host{number:02}" for number in range(int(hosts))]
    members = Hosts({name: sshd.host(name) for name in names})
    inventory = Inventory(hosts=members, groups=Groups(), defaults=Defaults())
    budget = Budget(workers=1, deadline=float(seconds))
    made = ProcessEngine(2) if engine == "processes" else DaskEngine("127.0.0.1", int(engine))
    with closing(made):
        runner = ShardRunner(budget, made, 64, {}, f"run{os.getpid()}")
        nornir = build_nornir(inventory, budget, runner=runner)
        nornir.run(run_command, script=script, timeout=float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
