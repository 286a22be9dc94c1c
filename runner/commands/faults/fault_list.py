"""`labrun break --list`: the faults of the catalogue with their levels, and which of them fit the lab."""

from __future__ import annotations

from labrun.errors import UsageError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.runner.views.columns import listing
from labrun.tasks.faults.catalogue import FAULTS, possible
from labrun.tasks.faults.levels import Level, level_of

__all__ = ["fault_list"]


def fault_list(invocation: Invocation, level: str | None) -> Report:
    """Return the faults, the easy ones first; without a lab file it is not known which of them fit."""
    lab = None
    try:
        lab = load(invocation)
    except UsageError:
        if invocation.lab is not None or invocation.hosts is not None:
            raise
    fitting = None
    if lab is not None:
        hosts = select_hosts(lab, invocation.hosts)
        fitting = {fault.name for fault, _ in possible(lab, hosts=hosts)}
    order = list(Level)
    faults = sorted(FAULTS.values(), key=lambda fault: order.index(level_of(fault)))
    faults = [fault for fault in faults if level in (None, level_of(fault))]
    lines = [
        (
            level_of(fault).value,
            fault.name,
            f"IPv{fault.version}",
            "router" if fault.at == "router" else "any host",
            "?" if fitting is None else "yes" if fault.name in fitting else "no",
        )
        for fault in faults
    ]
    text = listing(("level", "fault", "IP", "on", "fits this lab"), lines, color=invocation.color)
    members = [
        {
            "name": fault.name,
            "level": level_of(fault).value,
            "version": fault.version,
            "at": fault.at,
            "fits": None if fitting is None else fault.name in fitting,
        }
        for fault in faults
    ]
    name = lab.name if lab is not None else None
    return Report(name, extra={"faults": members}, text=None if invocation.json else text)
