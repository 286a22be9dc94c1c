"""What commands that make, start, stop or remove machines say of those that labrun did not make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labrun.outcome import Outcome, Status

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

__all__ = ["NO_HYPERVISOR", "existing_rows"]

NO_HYPERVISOR = "ssh:"
"""Stands for the hypervisor in the name of the state directory of a lab that has none."""


def existing_rows(lab: Lab, hosts: Iterable[str]) -> list[Outcome]:
    """Return a row for each of these hosts that is an existing machine."""
    why = "an existing machine is never provisioned"
    return [
        Outcome(host, "machine", host, Status.SKIPPED, why=why)
        for host in hosts
        if lab.hosts[host].address is not None
    ]
