"""Rows for existing machines in commands that create, start, stop or remove machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labrun.outcome import Outcome, Status

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

__all__ = ["NO_HYPERVISOR", "existing_rows"]

NO_HYPERVISOR = "ssh:"
"""Takes the place of the hypervisor in the state directory's name for a lab without one."""


def existing_rows(lab: Lab, hosts: Iterable[str]) -> list[Outcome]:
    """Return a row for each of these hosts that is an existing machine."""
    why = "an existing machine is never provisioned"
    return [
        Outcome(host, "machine", host, Status.SKIPPED, why=why)
        for host in hosts
        if lab.hosts[host].address is not None
    ]
