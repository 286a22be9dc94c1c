"""The part of `labrun fork` that runs inside the fork: a process of its own, since entering takes one thread.

``python -m labrun.runner.commands.forks.inside`` reads its orders from standard input as JSON, and prints its
rows.
"""

from __future__ import annotations

import json
import sys

from labrun.errors import LabrunError
from labrun.hypervisor import enter_network
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation

__all__ = ["main"]


def main() -> None:
    """Start the fork's networks and containers, and wait until they answer."""
    orders = json.load(sys.stdin)
    invocation = Invocation(
        "fork",
        lab=orders["lab"],
        allow_outside=orders["allow_outside"],
        timeout=orders["timeout"],
        workers=orders["workers"],
    )
    try:
        rows = _begin(invocation, orders["name"], wait=orders["wait"])
    except LabrunError as error:
        rows = [
            Outcome(HYPERVISOR, "fork", orders["name"], Status.FAILED, "running", "not begun", error.reason)
        ]
    json.dump([row.as_json() for row in rows], sys.stdout)


def _begin(invocation: Invocation, name: str, *, wait: bool) -> list[Outcome]:
    from labrun.runner.commands.snapshots.restoring import start_machines
    from labrun.runner.engine.forks import enter_fork, fork_of
    from labrun.runner.engine.session import open_session
    from labrun.tasks.forks.contents import define_all

    fork = fork_of(invocation, name)
    inside = enter_fork(invocation, fork)
    uri = next(iter(fork.machines.values())).uri
    # Bridges and tables of nftables are made where this process is.
    enter_network(uri)
    define_all(fork, uri)
    session = open_session(inside)
    running = [
        host for host, kept in fork.machines.items() if kept.state != "shut off" and host in session.hosts
    ]
    return start_machines(session, running, wait=wait) if running else []


if __name__ == "__main__":
    main()
