"""`labrun verify`: what the hosts show, against what the lab file implies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from labrun.runner.live import progress
from labrun.runner.options import Invocation
from labrun.runner.output import Report
from labrun.runner.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.tasks.collect.capture import Capture, Unreachable

_MARGIN = 60.0
"""Seconds beyond the pace of the traces: for a slow guest's logins and commands."""


@verb("verify")
@click.option(
    "--explain", is_flag=True, help="Print the commands that show the same by hand, and do nothing."
)
def command(invocation: Invocation, explain: bool) -> Report:
    """Compare addresses, routes and paths of the hosts with what the lab file implies.

    Reads only. Every ordered pair of hosts is traced or pinged; a row that fails says why.
    """
    from labrun.tasks.collect.judge import judge

    session = open_session(invocation)
    if explain:
        return Report(session.lab.name, text=explained(session))
    captures = gather_captures(session)
    rows = judge(session.lab, captures, session.hosts)
    return Report(session.lab.name, rows)


def gather_captures(session: Session) -> Mapping[str, Capture | Unreachable]:
    """Return what every host of the lab shows.

    All are asked, also with ``--hosts``: why a host's path fails is often to be seen on another.
    """
    from labrun.runner.engine import cause_of
    from labrun.tasks.collect.task import SPEC, captures_of, collect

    specs = _specs(session)
    deadline = session.invocation.timeout or _longest(specs.values()) + _MARGIN
    data = {host: {SPEC: spec} for host, spec in specs.items()}
    with (
        progress(list(specs), session.invocation),
        session.engine(session.locate(), data, hosts=list(specs), deadline=deadline) as nornir,
    ):
        results = nornir.run(collect)
    return captures_of({host: cause_of(found) or found[0].result for host, found in results.items()})


def _specs(session: Session) -> dict[str, dict[str, Any]]:
    from labrun.tasks.collect.schedule import collect_spec
    from labrun.tasks.provision.planning import see_machines

    lab = session.lab
    seen = see_machines(lab.name, session.uri)
    # Waiting for the answer of a machine that is off would tell nothing that libvirt does not know.
    down = {
        name
        for name, host in lab.hosts.items()
        if host.machine is not None and (name not in seen or seen[name].machine.state != "running")
    }
    return {name: collect_spec(lab, name, skip=down) for name in lab.hosts}


def _longest(specs: Iterable[dict[str, Any]]) -> float:
    from labrun.tasks.collect.schedule import seconds_for

    return max((seconds_for(spec) for spec in specs), default=0.0)


def explained(session: Session) -> str:
    """Return, per host, the commands whose output `verify` compares."""
    parts = []
    for host, spec in _specs(session).items():
        if host in session.hosts:
            lines = [f"# on {host}", "ip address", "ip route", "sysctl net.ipv4.ip_forward", "sudo sshd -T"]
            lines += [f"traceroute -n {trace['address']}   # {trace['to']}" for trace in spec["traces"]]
            lines += [f"ping -c 1 {ping['address']}   # {ping['to']}" for ping in spec["pings"]]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
