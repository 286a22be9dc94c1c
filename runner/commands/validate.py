"""``labrun validate``: the lab file's problems, all at once and offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labrun.inventory.model import Lab, Role
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.runner.cli.terminal import say
from labrun.runner.verb import verb
from labrun.searching import is_linear

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["command"]

_SLOW = (
    "uses lookaround, back-references or large counts:"
    " it is searched for in a separate process, for 2 s at most"
)


@verb("validate")
def command(invocation: Invocation) -> Report:
    """Check the lab file without touching anything.

    Every problem is reported with its line; the exit code is 2 if there is one. Keys that have no
    effect where they are, keys that labrun does not support yet, and patterns that may take exponential
    time are reported on stderr.
    """
    lab = load(invocation)
    select_hosts(lab, invocation.hosts)
    for check in lab.checks:
        if check.match is not None and check.match.regex is not None and not is_linear(check.match.regex):
            say(f"{lab.source}: check {check.name}: {check.match.regex} {_SLOW}")
    text = "" if invocation.quiet else f"{lab.source}: {_summary(lab)}"
    return Report(lab_name=lab.name, text=text, extra=_members(lab))


def _summary(lab: Lab) -> str:
    routers = sum(host.role is Role.ROUTER for host in lab.hosts.values())
    networks, hosts = _count(len(lab.networks), "network"), _count(len(lab.hosts), "host")
    return f"lab {lab.name} is valid: {networks}, {hosts} ({_count(routers, 'router')})"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _members(lab: Lab) -> JsonObject:
    notices: list[JsonObject] = [
        {"line": notice.line, "path": notice.path, "why": notice.why}
        for notice in lab.notices
        if not notice.driver
    ]
    return {"networks": list(lab.networks), "hosts": list(lab.hosts), "notices": notices}
