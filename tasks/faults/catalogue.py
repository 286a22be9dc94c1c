"""The fault catalogue: every fault by name, and where a lab has room for each."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from labrun.inventory.model import Lab
from labrun.tasks.faults.fault_sites import fault_sites
from labrun.tasks.faults.filter_faults import FILTERS
from labrun.tasks.faults.hidden_faults import HIDDEN
from labrun.tasks.faults.ipv6_faults import IPV6
from labrun.tasks.faults.ipv6_twins import TWINS
from labrun.tasks.faults.link_faults import LINKS
from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.faults.routing_faults import ROUTING

__all__ = ["FAULTS", "choose", "possible"]

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*ROUTING, *LINKS, *FILTERS, *IPV6, *TWINS, *HIDDEN)
}
"""All faults by name, in the order of the documentation."""


def possible(
    lab: Lab, name: str | None = None, hosts: Collection[str] | None = None
) -> list[tuple[Fault, FaultSite]]:
    """Return the faults that the lab has room for, limited to one name and to these hosts if given."""
    everywhere = fault_sites(lab)
    return [
        (fault, site)
        for fault in FAULTS.values()
        if name in (None, fault.name)
        for site in everywhere
        if fault.version == site.version and fault.fits(site) and (hosts is None or fault.host(site) in hosts)
    ]


def choose(found: list[tuple[Fault, FaultSite]], seed: int | None) -> tuple[Fault, FaultSite]:
    """Pick one at random, each fault equally likely; the same seed and lab give the same result."""
    dice = random.Random(seed)  # noqa: S311 - a game, no secret
    names = list(dict.fromkeys(fault.name for fault, _ in found))
    name = dice.choice(names)
    return dice.choice([pair for pair in found if pair[0].name == name])
