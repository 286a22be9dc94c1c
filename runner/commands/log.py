"""`labrun log HOST`: what the hypervisor's filters have refused at a host's NICs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from labrun.errors import HypervisorError
from labrun.moments import told
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import complete_host, require_host
from labrun.runner.engine.by_hypervisor import uri_of
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb
from labrun.runner.views.columns import listing

if TYPE_CHECKING:
    from labrun.json_values import JsonObject


@verb("log")
@click.argument("host", shell_complete=complete_host)
def command(invocation: Invocation, host: str) -> Report:
    """Show what the hypervisor's filters have refused at a host's NICs.

    That is the traffic that rules with `log: true` have denied or rejected in the last day: one line
    for each source, destination and port, the latest first.
    """
    from labrun.tasks.provision import nft
    from labrun.tasks.provision.refused_traffic import recording, refused_at

    session = open_session(invocation)
    require_host(session.lab, host)
    target = session.lab.hosts[host]
    if not recording(session.lab, target):
        text = f"{host}: nothing is logged: no filter of its NICs has a rule with log: true\n"
        return _report(session.lab.name, host, invocation, [], text)
    if why := nft.unusable(uri_of(session, host)):
        raise HypervisorError(f"the filters cannot be read: {why}", step="log")
    refused = refused_at(session.lab, target)
    lines = [
        (
            told(time.time() - entry.ago),
            entry.network,
            f"{entry.filter}: {entry.rule}",
            entry.source,
            entry.to,
            entry.proto if entry.port is None else f"{entry.proto}/{entry.port}",
            str(entry.packets),
        )
        for entry in refused
    ]
    columns = ("last", "network", "rule", "from", "to", "what", "packets")
    text = listing(columns, lines, color=invocation.color) if lines else f"{host}: nothing was refused\n"
    return _report(session.lab.name, host, invocation, [entry.as_json() for entry in refused], text)


def _report(lab: str, host: str, invocation: Invocation, refused: list[JsonObject], text: str) -> Report:
    return Report(lab, extra={"host": host, "refused": refused}, text=None if invocation.json else text)
