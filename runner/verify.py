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
from labrun.runner.verify_outputs import output_options, with_outputs

if TYPE_CHECKING:
    from labrun.tasks.collect.capture import Capture, Unreachable

_MARGIN = 60.0
"""Seconds beyond the pace of the traces: for a slow guest's logins and commands."""


@verb("verify")
@click.option(
    "--explain", is_flag=True, help="Print the commands that show the same by hand, and do nothing."
)
@output_options
def command(invocation: Invocation, explain: bool, **outputs: Any) -> Report:
    """Compare addresses, routes and paths of the hosts with what the lab file implies.

    Reads only. Every ordered pair of hosts is traced or pinged; a row that fails says why.
    """
    from labrun.tasks.collect.judge import judge

    session = open_session(invocation)
    if explain:
        return Report(session.lab.name, text=explained(session))
    captures = gather_captures(session)
    rows = judge(session.lab, captures, session.hosts)
    report = session.report(rows)
    return with_outputs(report, session.lab, invocation, state=session.state, **outputs)


def gather_captures(session: Session) -> Mapping[str, Capture | Unreachable]:
    """Return what every host of the lab shows.

    All are asked, also with ``--hosts``: why a host's path fails is often to be seen on another.
    """
    from labrun.runner.engine import cause_of
    from labrun.tasks.collect.capture import Unreachable
    from labrun.tasks.collect.task import SPEC, captures_of, collect

    off = _off(session)
    specs = _specs(session, off)
    asked = [host for host in specs if host not in off]
    deadline = session.invocation.timeout or _longest(specs.values()) + _MARGIN
    data = {host: {SPEC: spec} for host, spec in specs.items()}
    with (
        progress(asked, session.invocation),
        session.engine(session.locate(), data, hosts=asked, deadline=deadline) as nornir,
    ):
        results = nornir.run(collect)
    shown = captures_of({host: cause_of(found) or found[0].result for host, found in results.items()})
    return {**shown, **{host: Unreachable(why) for host, why in off.items()}}


def _off(session: Session) -> dict[str, str]:
    """Return, by host, why a machine cannot answer as far as libvirt knows it."""
    seen = session.machines()
    found: dict[str, str] = {}
    for name, host in session.lab.hosts.items():
        if host.machine is None:
            continue
        if name not in seen:
            found[name] = "there is no such machine yet: `labrun up` makes it"
        elif seen[name].machine.state != "running":
            found[name] = f"the machine is {seen[name].machine.state}: `labrun up` starts it"
    return found


def _specs(session: Session, off: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    from labrun.tasks.collect.schedule import collect_spec

    # Waiting for the answer of a machine that is off would tell nothing that libvirt does not know.
    return {name: collect_spec(session.lab, name, skip=set(off)) for name in session.lab.hosts}


def _longest(specs: Iterable[dict[str, Any]]) -> float:
    from labrun.tasks.collect.schedule import seconds_for

    return max((seconds_for(spec) for spec in specs), default=0.0)


def explained(session: Session) -> str:
    """Return, per host, the commands whose output `verify` compares."""
    parts = []
    for host, spec in _specs(session, {}).items():
        if host in session.hosts:
            lines = [f"# on {host}", "ip address", "ip route", "sysctl net.ipv4.ip_forward", "sudo sshd -T"]
            lines += [f"traceroute -n {trace['address']}   # {trace['to']}" for trace in spec["traces"]]
            lines += [f"ping -c 1 {ping['address']}   # {ping['to']}" for ping in spec["pings"]]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
