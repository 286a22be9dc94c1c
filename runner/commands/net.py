"""`labrun net`: the lab's networks as libvirt has them, who is on them, and the rules of their modes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from labrun.errors import UsageError
from labrun.inventory.model import Mode
from labrun.moments import distance, stamp, told
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import printable, screen_on
from labrun.runner.engine.network_sights import NetworkSight, look_at_networks
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb
from labrun.runner.views.columns import GAP, listing, natural_width

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.tasks.provision.network_view import NetworkView

_LOST = "none of libvirt's rules are there: it writes them again when it is restarted"
_NO_RULES = {
    Mode.OPEN: "libvirt adds no rules: this machine's own rules decide",
    Mode.BRIDGE: "guests are on a bridge of this machine: libvirt adds no rules",
    Mode.MACVTAP: "guests are on a device of this machine: their frames pass no rules here",
    Mode.VERY_ISOLATED: "this machine has no address on it, so nothing is forwarded",
}


@verb("net")
@click.option("--rules", is_flag=True, help="Show and explain the firewall rules behind each mode.")
def command(invocation: Invocation, rules: bool) -> Report:
    """Show the lab's networks: bridge, mode, leases with expiry, ports and attached machines.

    A network that is not there is shown as absent, which is not an error.
    """
    session = open_session(invocation)
    if not session.uri:
        raise UsageError("the lab has no networks in libvirt", hint=session.why_uri)
    sights, unknown = look_at_networks(session, rules=rules)
    rows = [Outcome(HYPERVISOR, "network", each.label, Status.OK, actual=_state(each)) for each in sights]
    members = [_member(session, each, rules=rules) for each in sights]
    text = None
    if not invocation.json:
        text = _rules_text(sights) if rules else _table(sights, invocation)
        text += "".join(f"{printable(f'{row.name}: unknown: {row.why}')}\n" for row in unknown)
    extra: JsonObject = {"networks": members, **session.place_json()}
    return Report(session.lab.name, rows + unknown, extra=extra, text=text, notes=(session.place,))


def _state(sight: NetworkSight) -> str:
    if sight.network.vlan is not None:
        # It is made by its guests alone.
        return sight.network.kind
    if sight.view is None:
        return "absent"
    return "active" if sight.view.active else "inactive"


def _expiry(moment: int) -> str:
    """Return when a lease ends, in UTC; libvirt has 0 for one that never does."""
    return stamp(moment) if moment else "never"


def _member(session: Session, sight: NetworkSight, *, rules: bool) -> JsonObject:
    network, view = sight.network, sight.view
    full = session.lab.libvirt_name(network.name)
    member: dict[str, object] = {"name": network.name, "mode": network.mode.value, "libvirt": full}
    vlan = network.vlan
    member["vlan"] = None if vlan is None else {"on": vlan.on, "id": vlan.id}
    if sight.hypervisor:
        member["on"] = sight.hypervisor
    member["state"] = _state(sight)
    member |= {"bridge": view.bridge or None, "uuid": view.uuid} if view else {"bridge": None, "uuid": None}
    member["leases"] = [
        {
            "mac": lease.mac,
            "address": str(lease.address),
            "name": lease.name,
            "expires": _expiry(lease.expires),
        }
        for lease in (view.leases if view else ())
    ]
    member["ports"] = [
        {"domain": plug.domain, "host": plug.host, "mac": plug.mac, "dev": plug.dev}
        for plug in (view.plugs if view else ())
    ]
    # Of an inactive network there are none to look for.
    if rules and sight.rules is not None:
        member["rules"] = [
            {"program": rule.program, "table": rule.table, "rule": rule.rule, "does": rule.does}
            for rule in sight.rules
        ]
    return member  # type: ignore[return-value]


def _table(sights: Sequence[NetworkSight], invocation: Invocation) -> str:
    networks = []
    for sight in sights:
        network, view = sight.network, sight.view
        subnets = "\n".join(str(subnet) for subnet in (network.cidr, network.cidr6) if subnet) or "-"
        identity = (view.bridge or "-", view.uuid) if view else ("-", "-")
        mode = network.mode.value if network.vlan is None else "vlan"
        networks.append((sight.label, mode, _state(sight), subnets, *identity))
    text = _networks(networks, color=invocation.color)
    views = {sight.label: sight.view for sight in sights if sight.view}
    guests = guest_table(views, time.time(), color=invocation.color)
    return f"{text}\n{guests}" if guests else text


def guest_table(views: Mapping[str, NetworkView], now: float, *, color: bool) -> str:
    """Return the table of NICs and leases, "" if there are none; ``now`` in seconds since the epoch.

    Where it does not fit otherwise, a lease has the time that is left and not the time of day.
    """
    columns = ("network", "guest", "port", "lease", "until")
    for words in (told, distance):
        lines = [line for name, view in views.items() for line in _guests(name, view, words, now)]
        if _fits(columns, lines, color=color):
            break
    return listing(columns, lines, color=color, whole=("guest", "port", "until")) if lines else ""


def _fits(columns: Sequence[str], lines: Sequence[Sequence[str]], *, color: bool) -> bool:
    widths = (natural_width(title, [line[index] for line in lines]) for index, title in enumerate(columns))
    return sum(widths) + GAP * (len(columns) - 1) <= screen_on(sys.stdout, color=color).width


def _networks(lines: Sequence[tuple[str, ...]], *, color: bool) -> str:
    """Return the table of networks; UUIDs, which are copied in one piece, stand below where it is narrow."""
    columns = ("network", "mode", "state", "subnet", "bridge", "uuid")
    if _fits(columns, lines, color=color):
        return listing(columns, lines, color=color)
    text = listing(columns[:-1], [line[:-1] for line in lines], color=color, whole=("subnet", "bridge"))
    uuids = [(line[0], line[-1]) for line in lines]
    return text + "\n" + listing(("network", "uuid"), uuids, color=color, whole=("uuid",))


def _guests(
    name: str, view: NetworkView, words: Callable[[float, float], str], now: float
) -> list[tuple[str, ...]]:
    """Return a line for each NIC, with its newest lease, and one for each lease that no NIC here has."""

    def until(moment: int) -> str:
        return words(moment, now) if moment else "never"

    newest = {each.mac: each for each in sorted(view.leases, key=lambda each: each.expires)}
    lines: list[tuple[str, ...]] = []
    for plug in view.plugs:
        lease = newest.pop(plug.mac, None)
        who = plug.host or f"{plug.domain} (not the lab's)"
        given = (str(lease.address), until(lease.expires)) if lease else ("-", "-")
        # The name of a port that labrun made has the MAC in it.
        lines.append((name, who, plug.dev or plug.mac, *given))
    lines += [
        (name, f"{each.name or '?'} (not there)", each.mac, str(each.address), until(each.expires))
        for each in newest.values()
    ]
    return lines


def _rules_text(sights: Sequence[NetworkSight]) -> str:
    parts = []
    for sight in sights:
        network, view, rules = sight.network, sight.view, sight.rules or ()
        where = f", {view.bridge}" if view and view.bridge else ""
        lines = [f"{sight.label} ({network.kind}{where})"]
        if network.vlan is not None:
            lines.append(f"  no rules of its own: its frames pass as those of {network.vlan.on}")
        elif view is None or not view.active:
            lines.append(f"  {_state(sight)}: no rules")
        elif not rules:
            lines.append(f"  {_NO_RULES.get(network.mode, _LOST)}")
        for rule in rules:
            table = f"-t {rule.table} " if rule.program != "nft" else ""
            lines += [f"  {rule.does}", f"      {rule.program} {table}{rule.rule}"]
        parts.append("".join(f"{printable(line)}\n" for line in lines))
    return "\n".join(parts)
