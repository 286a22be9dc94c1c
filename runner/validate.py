"""``labrun validate``: the lab file's problems, all at once and offline."""

from __future__ import annotations

from typing import Any

from labrun.inventory.model import Lab
from labrun.runner.lab_file import load
from labrun.runner.options import Invocation
from labrun.runner.output import Report
from labrun.runner.selection import select_hosts
from labrun.runner.verb import verb

__all__ = ["command"]


@verb("validate")
def command(invocation: Invocation) -> Report:
    """Check the lab file, without touching anything.

    Every problem is reported with its line; the exit code is 2 when there is one. Keys that labrun
    reads but does not act on yet are named on stderr.
    """
    lab = load(invocation)
    select_hosts(lab, invocation.hosts)
    text = "" if invocation.quiet else f"{lab.source}: {_summary(lab)}"
    return Report(lab_name=lab.name, text=text, extra={"source": lab.source, "hosts": list(lab.hosts)} | _members(lab))


def _summary(lab: Lab) -> str:
    routers = sum(host.role.value == "router" for host in lab.hosts.values())
    parts = [_count(len(lab.networks), "network"), _count(len(lab.hosts), "host"), _count(routers, "router")]
    return f"lab {lab.name} is valid: {parts[0]}, {parts[1]} ({parts[2]})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _members(lab: Lab) -> dict[str, Any]:
    return {
        "networks": list(lab.networks),
        "notices": [{"line": notice.line, "path": notice.path, "unsafe": notice.unsafe} for notice in lab.notices],
    }
