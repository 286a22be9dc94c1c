"""Find the hosts that each host of a run carries. They must answer again before a change to it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from labrun.inventory.hosts.connections import access_of
from labrun.inventory.topology.behind import behind, carries_others

if TYPE_CHECKING:
    from labrun.inventory.hosts.locate import Located
    from labrun.inventory.model import Lab
    from labrun.state import LabState
    from labrun.tasks.configure.behind import Behind

__all__ = ["carried_by"]


def carried_by(
    lab: Lab, hosts: Iterable[str], located: Mapping[str, Located], state: LabState
) -> dict[str, list[Behind]]:
    """Return, for each of ``hosts`` that forwards traffic to others, those as name, address and port.

    All hosts of the lab count, not only those of the run. The kernel's routes are read only if one of
    ``hosts`` can carry others at all.
    """
    carriers = [name for name in hosts if carries_others(lab, name)]
    addresses = {name: where.address for name, where in located.items() if where.address is not None}
    if not carriers or len(addresses) < 2:
        return {}
    from labrun.tasks.configure.behind import leads

    routes = leads(addresses)
    return {
        carrier: [
            {
                "name": name,
                "address": addresses[name],
                "port": access_of(lab, lab.hosts[name], state).port,
            }
            for name in behind(lab, carrier, routes)
        ]
        for carrier in carriers
    }
