"""Check that a host with ``access:`` can be reached through its jump host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Report
from labrun.inventory.model import Lab
from labrun.inventory.topology.jump_hosts import declared_jump, entrance, forbids_jumps, jumps
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.wiring import Version

__all__ = ["check_jumps"]

_Fault: TypeAlias = tuple[str, str | None] | None
_VERSIONS: tuple[Version, ...] = (4, 6)


def check_jumps(lab: Lab, merged: Mapping[str, Merged], report: Report) -> None:
    """Report each ``access: {via}`` that leads nowhere; the rest of the file must be right."""
    circling: set[str] = set()
    for name, host in lab.hosts.items():
        if host.access_via is None or name in circling:
            continue
        circle = _circle(lab, name)
        circling |= circle.keys()
        if circle:
            said = ", ".join(f"{each} through {via}" for each, via in circle.items())
            found: _Fault = (
                f"the jump hosts form a circle: {said}",
                "one of them must be reachable without access",
            )
        else:
            found = _fault(lab, name, host.access_via)
        if found is not None:
            report.add((*merged[name].path("access"), "via"), *found)


def _fault(lab: Lab, name: str, via: str) -> _Fault:
    forbidden = forbids_jumps(lab.hosts[via])
    if forbidden is not None:
        return f"the sshd of {via} has {forbidden}", "AllowTcpForwarding: local lets labrun through"
    if name in jumps(lab):
        return None
    if declared_jump(lab, name, via) is None:
        return f"{via} cannot reach {name}{_why(lab, name, via)}", None
    why = entrance(lab, lab.hosts[via]).why
    return f"labrun cannot reach {via} either{f': {why}' if why else ''}", None


def _circle(lab: Lab, name: str) -> dict[str, str]:
    """Return the jump host of each host in a circle, if this host is part of one; itself first."""
    passed: dict[str, str] = {}
    at = name
    while at not in passed and (via := lab.hosts[at].access_via) is not None:
        passed[at] = via
        at = via
    return passed if at == name else {}


def _why(lab: Lab, name: str, via: str) -> str:
    faults = (paths(lab, version).path(via, name).fault for version in _VERSIONS)
    return next((f": {fault}" for fault in faults if fault is not None), "")
