"""The lab's networks as each of its hypervisors has them, with the rules of their modes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError
from labrun.hypervisor import is_local
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.engine.by_hypervisor import reason_of

if TYPE_CHECKING:
    from labrun.inventory.model import Lab, Network
    from labrun.runner.engine.session import Session
    from labrun.tasks.provision.mode_rules import ModeRule
    from labrun.tasks.provision.network_view import NetworkView

__all__ = ["NetworkSight", "look_at_networks"]


@dataclass(frozen=True, slots=True)
class NetworkSight:
    """A network on one hypervisor; ``hypervisor`` is its name, empty where the lab has only one.

    ``view`` is None for a network that is not there, ``rules`` are None unless they were asked for.
    """

    network: Network
    hypervisor: str
    view: NetworkView | None
    rules: tuple[ModeRule, ...] | None = None

    @property
    def label(self) -> str:
        """Return its name, as rows have it."""
        return f"{self.network.name} on {self.hypervisor}" if self.hypervisor else self.network.name


def look_at_networks(session: Session, *, rules: bool) -> tuple[list[NetworkSight], list[Outcome]]:
    """Return every network on every hypervisor that has hosts on it, and unknown rows of silent hypervisors.

    In a lab of one hypervisor there are no such rows: then its HypervisorError is raised.
    """
    span = session.span
    if span is None:
        return _sights(session.lab, session.lab, "", session.uri, rules=rules), []
    from labrun.inventory.topology.parts import part_of

    sights: list[NetworkSight] = []
    silent = {name: f"its hypervisor does not answer: {error.reason}" for name, error in span.gone.items()}
    for member in span.members:
        try:
            sights += _sights(session.lab, member.part, member.name, member.uri, rules=rules)
        except HypervisorError as error:
            silent[member.name] = reason_of(error)
    order = {name: number for number, name in enumerate(session.lab.networks)}
    sights.sort(key=lambda each: order[each.network.name])
    return sights, [
        Outcome(HYPERVISOR, "network", f"{network} on {name}", Status.UNKNOWN, why=why)
        for name, why in silent.items()
        for network in part_of(session.lab, span.placement, name).networks
    ]


def _sights(lab: Lab, part: Lab, hypervisor: str, uri: str, *, rules: bool) -> list[NetworkSight]:
    """Return the networks of a part of the lab, as the file has them, on its hypervisor."""
    from labrun.tasks.provision.network_view import view_networks

    views = view_networks(lab.name, uri)
    by_network = _rules(views, "" if is_local(uri) else uri) if rules else {}
    return [
        NetworkSight(lab.networks[name], hypervisor, views.get(name), by_network.get(name))
        for name in part.networks
    ]


def _rules(views: dict[str, NetworkView], far: str) -> dict[str, tuple[ModeRule, ...]]:
    from labrun.tasks.provision.mode_rules import explained, read_rules

    listings = read_rules(far)
    return {
        name: tuple(
            explained(listings, view.bridge, [str(ip_interface(subnet).network) for subnet in view.subnets])
        )
        for name, view in views.items()
        if view.active and view.bridge
    }
