"""One path step by step: the route that each node uses and the address it replies with."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.model import Address, Lab
from labrun.inventory.topology.forwarding import forwarding
from labrun.inventory.topology.path_model import Path
from labrun.inventory.topology.routing import Route
from labrun.inventory.topology.wiring import HYPERVISOR_NODE, Version

__all__ = ["Step", "steps_back", "steps_there"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one node does with a packet to ``to``.

    ``route`` is None at the end of the path, if there is no route, and for the hypervisor, which forwards
    between its networks. ``address`` is the address that the node replies with or sends from.
    """

    node: str
    to: Address
    route: Route | None
    address: Address | None


def steps_there(lab: Lab, path: Path) -> tuple[Step, ...]:
    """Return the steps from source to target, as far as packets get; empty if the address is not known."""
    to = path.address
    if to is None:
        return ()
    forwarder = forwarding(lab, _version(to))
    own = forwarder.sends_from(path.source, to)
    steps = [Step(path.source, to, forwarder.chosen(path.source, to), own.address if own else None)]
    answers = path.way.answers or (None,) * len(path.way.through)
    for node, answer in zip(path.way.through, answers, strict=True):
        steps.append(Step(node, to, _chosen(lab, node, to), answer))
    if path.fault is None:
        steps.append(Step(path.target, to, None, to))
    return tuple(steps)


def steps_back(lab: Lab, path: Path) -> tuple[Step, ...]:
    """Return the steps from the target back to the source's address; empty if the target is unreachable."""
    if path.address is None:
        return ()
    own = forwarding(lab, _version(path.address)).sends_from(path.source, path.address)
    if own is None or (path.fault is not None and not path.way.back):
        return ()
    steps = []
    for place, node in enumerate((path.target, *path.way.back)):
        to = path.way.returned_to(place, own.address)
        steps.append(Step(node, to, _chosen(lab, node, to), path.address if place == 0 else None))
    if path.fault is None:
        steps.append(Step(path.source, own.address, None, own.address))
    return tuple(steps)


def _chosen(lab: Lab, node: str, to: Address) -> Route | None:
    return None if node == HYPERVISOR_NODE else forwarding(lab, _version(to)).chosen(node, to)


def _version(address: Address) -> Version:
    return 4 if address.version == 4 else 6
