"""A host that sends packets another way than the lab file implies, or has no way to send them."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Address, Lab, Prefix
from labrun.inventory.topology.routing import Route
from labrun.inventory.topology.wiring import Version, wiring
from labrun.tasks.collect.filter_causes import Passage, best_routes
from labrun.tasks.collect.nic_causes import CAUSE, Finding, Shown, nic_name
from labrun.tasks.collect.route_words import route_name
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.state.sections import ROUTE

__all__ = ["wrong_way"]


def wrong_way(shown: Shown, at: Passage, expected: Route, device: str, *, back: bool) -> Iterator[Finding]:
    """Yield the fault of a node that sends a packet by other routes than ``expected``, or has none."""
    equal = best_routes(at.capture.routes, at.target)
    row = (ROUTE.name, route_name((equal[0] if equal else expected).prefix))
    wrong = [each for each in equal if not _same_way(each, expected, device)]
    if not equal:
        goal = _goal(shown.lab, at.target, 4 if at.target.version == 4 else 6)
        yield Finding(CAUSE, f"no route {'back ' if back else ''}to {goal}", at.node, row)
    elif equal[0].kind != "unicast":
        article = "an" if equal[0].kind[0] in "aeiou" else "a"
        yield Finding(CAUSE, f"{article} {equal[0].kind} route to {equal[0].prefix}", at.node, row)
    elif wrong and len(wrong) < len(equal):
        ways = " and ".join(dict.fromkeys(_there(shown, at, each) for each in equal))
        name = "default" if equal[0].prefix.prefixlen == 0 else equal[0].prefix
        yield Finding(CAUSE, f"several equal routes to {name}: {ways}", at.node, row)
    elif wrong:
        there = _there(shown, at, wrong[0])
        meant = f"via {expected.via}" if expected.via is not None else f"out of {expected.nic}"
        if wrong[0].via is not None and wrong[0].via == expected.via:
            nic = nic_name(shown.lab, at.node, at.capture, wrong[0].device)
            there, meant = f"{there} out of {nic}", f"out of {expected.nic}"
        yield Finding(CAUSE, f"{at.target} is sent {there}, not {meant}", at.node, row)


def _there(shown: Shown, at: Passage, route: ObservedRoute) -> str:
    if route.via is not None:
        return f"via {route.via}"
    return f"out of {nic_name(shown.lab, at.node, at.capture, route.device)}"


def _same_way(observed: ObservedRoute, expected: Route, device: str) -> bool:
    if observed.device != device:
        return False
    announced = expected.origin == "dhcp" and observed.via is not None and observed.via.is_link_local
    return announced or observed.via == expected.via


def _goal(lab: Lab, to: Address, version: Version) -> Prefix | Address:
    wires = wiring(lab, version)
    owner = wires.owner.get(to)
    return next((own.prefix for own in wires.of[owner] if own.address == to), to) if owner else to
