"""`labrun host-bridge`: this machine's own NIC in a bridge, for networks with `mode: bridge`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import click

from labrun.errors import HostBridgeError, UsageError
from labrun.inventory.file.addressing import misfit
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.options import BoundedRange
from labrun.runner.cli.report import Report
from labrun.runner.commands.host_bridge.change import SECTION, carry_out, state_of
from labrun.runner.verb import VerbGroup, verb
from labrun.runner.views.columns import listing

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.tasks.host_bridge.guard import State
    from labrun.tasks.host_bridge.model import Addressing, Device, Interface, Record

command = VerbGroup(
    "host-bridge", "Put this machine's own NIC into a bridge without cutting off anyone who is logged in."
)
_WITHIN = click.option(
    "--within",
    type=BoundedRange(10, 3600),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="Time for the new connection that confirms the change.",
)


def _complete_nic(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from labrun.tasks.host_bridge.machine import devices, is_fit

    try:
        return [
            device.name
            for device in devices().values()
            if is_fit(device) and device.name.startswith(incomplete)
        ]
    except HostBridgeError:
        return []


def _complete_bridge(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from labrun.tasks.host_bridge.records import read_records

    return [bridge for bridge in read_records() if bridge.startswith(incomplete)]


@verb("create", group=command)
@click.argument("bridge")
@click.option("--dev", required=True, metavar="NIC", shell_complete=_complete_nic, help="The NIC to use.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="A/LENGTH",
    help="Static address in place of the NIC's own; repeatable. By default these move to the bridge.",
)
@click.option("--gateway", "gateways", multiple=True, metavar="A", help="Default gateway with --address.")
@_WITHIN
def create(
    invocation: Invocation,
    bridge: str,
    dev: str,
    addresses: Sequence[str],
    gateways: Sequence[str],
    within: int,
) -> Report:
    """Put a NIC of this machine into a new bridge, to which its addresses, routes and MAC move.

    The change is made through NetworkManager, netplan or ifupdown, whichever manages the NIC. Anyone logged
    in by ssh over that NIC keeps access: the change stays only once a NEW ssh connection has come from the
    same place, which counts by itself, or after `labrun host-bridge confirm BRIDGE`. Otherwise, or if the
    default gateway no longer answers, everything is rolled back. A reboot before then rolls it back too, and
    Ctrl-C at once.
    """
    from labrun.tasks.host_bridge.detect import bridge_change
    from labrun.tasks.host_bridge.machine import devices, require_fit, require_name, require_root
    from labrun.tasks.host_bridge.records import read_record
    from labrun.tasks.host_bridge.taken import require_free

    require_name(bridge)
    own = tuple(_interface(address) for address in addresses)
    if gateways and not own:
        raise UsageError(
            "--gateway goes with --address", hint="without them the NIC's own settings move over"
        )
    require_root("changing")
    _none_pending()
    present = devices()
    record = read_record(bridge)
    if record is not None and bridge in present:
        return _there(bridge, dev, own, present, record)
    nic = require_fit(dev, bridge, present)
    wanted = _addressing(nic, own, gateways) if own else None
    require_free(nic, own, present)
    return carry_out(invocation, bridge_change(nic, bridge, wanted), nic, within)


def _none_pending() -> None:
    from labrun.tasks.host_bridge.guard import pending, require_none

    require_none(pending())


def _interface(text: str) -> Interface:
    try:
        interface = ip_interface(text)
    except ValueError:
        interface = None
    if interface is None or "/" not in text:
        raise UsageError(f'"{text}" is not an address with a prefix length', hint="--address 192.168.1.5/24")
    ip = interface.ip
    why = misfit(ip, interface.network)
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        why = f"{ip} cannot be reached from other machines"
    if why is not None:
        raise UsageError(f"--address: {why}", hint="--address 192.168.1.5/24")
    return interface


def _addressing(nic: Device, own: tuple[Interface, ...], gateways: Sequence[str]) -> Addressing:
    from labrun.tasks.host_bridge.machine import nameservers
    from labrun.tasks.host_bridge.model import Addressing

    try:
        given = [ip_address(gateway) for gateway in gateways]
    except ValueError as error:
        raise UsageError(f"--gateway: {error}") from None
    for gateway in given:
        if any(gateway == address.ip for address in own):
            raise UsageError(f"the gateway {gateway} is the bridge's own address")
        if not gateway.is_link_local and not any(gateway in address.network for address in own):
            raise UsageError(f"the gateway {gateway} is in no subnet of --address")
    # The previous gateway is kept if it is in the new subnet.
    given += [hop for hop in nic.gateways if any(hop in address.network for address in own)]
    return Addressing(own, tuple(given), nameservers())


def _there(
    bridge: str, dev: str, own: Sequence[Interface], found: dict[str, Device], record: Record
) -> Report:
    """Return the report on a bridge that labrun made before."""
    if record.nic != dev:
        raise HostBridgeError(
            f"{bridge} already exists, with {record.nic} as its port",
            hint=f"labrun host-bridge remove {bridge}, or take another name",
        )
    held = found[bridge].addresses
    if missing := [str(address) for address in own if address not in held]:
        raise HostBridgeError(
            f"{bridge} already exists, without {', '.join(missing)}",
            hint=f"labrun host-bridge remove {bridge} first",
        )
    actual = state_of(found.get(bridge), found.get(dev))
    status = Status.OK
    why = None
    if dev in found and found[dev].master != bridge:
        status, why = Status.FAILED, f"{dev} is no longer a port of {bridge}: it was taken out"
    return Report(outcomes=[Outcome(HYPERVISOR, SECTION, bridge, status, f"with {dev}", actual, why)])


@verb("remove", group=command)
@click.argument("bridge", shell_complete=_complete_bridge)
@_WITHIN
def remove(invocation: Invocation, bridge: str, within: int) -> Report:
    """Take the NIC out of a bridge that labrun made, and give it back what it had before.

    Guarded like `create`: the change stays only once a new ssh connection has come from where somebody is
    logged in over the bridge, which counts by itself, or after `labrun host-bridge confirm BRIDGE`.
    """
    from labrun.tasks.host_bridge.detect import nic_change
    from labrun.tasks.host_bridge.machine import devices, require_name, require_root
    from labrun.tasks.host_bridge.records import read_record

    require_name(bridge)
    require_root("changing")
    _none_pending()
    present = devices()
    record = read_record(bridge)
    if record is None:
        if bridge not in present:
            row = Outcome(HYPERVISOR, SECTION, bridge, Status.OK, "absent", "absent")
            return Report(outcomes=[row])
        raise HostBridgeError(
            f"{bridge} was not made by `labrun host-bridge`, and is left alone",
            hint="labrun host-bridge show lists those that were",
        )
    ports = sorted(
        device.name for device in present.values() if device.master == bridge and device.name != record.nic
    )
    if ports:
        raise HostBridgeError(
            f"{', '.join(ports)} {'is' if len(ports) == 1 else 'are'} on {bridge}: guests would be cut off",
            hint="labrun list names the labs here; take down those with a network on it",
        )
    here = present.get(bridge) or present.get(record.nic)
    if here is None:
        raise HostBridgeError(f"this machine has neither {bridge} nor {record.nic}")
    return carry_out(invocation, nic_change(record), here, within)


@verb("confirm", group=command)
@click.argument("bridge", shell_complete=_complete_bridge)
def confirm_command(invocation: Invocation, bridge: str) -> Report:
    """Confirm a change to a bridge, over an ssh connection that was opened after it.

    A new ssh login from the same machine does the same by itself.
    """
    from labrun.tasks.host_bridge.guard import confirm
    from labrun.tasks.host_bridge.machine import devices, require_name, require_root

    require_name(bridge)
    require_root("changing")
    state, before = confirm(bridge)
    is_kept = state.phase == "kept"
    kept = Status.OK if before else Status.CHANGED
    row = Outcome(
        HYPERVISOR,
        SECTION,
        bridge,
        kept if is_kept else Status.ROLLED_BACK,
        actual=state_of(devices().get(bridge), None),
        why=f"confirmed: {state.why}" if is_kept else state.why,
    )
    return Report(outcomes=[row])


@verb("show", group=command)
def show(invocation: Invocation) -> Report:
    """Show this machine's bridges that have a NIC as a port, and a change that is waiting to be confirmed."""
    from labrun.tasks.host_bridge.guard import pending
    from labrun.tasks.host_bridge.machine import devices
    from labrun.tasks.host_bridge.records import read_records

    present, records, state = devices(), read_records(), pending()
    members = [
        _member(device, present, records, state) for device in present.values() if device.kind == "bridge"
    ]
    shown = [bridge for bridge in members if bridge["dev"] or bridge["made_by_labrun"]]
    waiting = f"not confirmed yet, {state.left} s left" if state is not None else None
    rows = [
        Outcome(
            HYPERVISOR,
            SECTION,
            str(bridge["name"]),
            Status.PENDING if bridge["state"] == "unconfirmed" else Status.OK,
            actual=f"with {bridge['dev'] or 'no NIC'}",
            why=waiting if bridge["state"] == "unconfirmed" else None,
        )
        for bridge in shown
    ]
    text = None
    if not invocation.json:
        columns = ("bridge", "dev", "addresses", "MAC", "manager", "state")
        lines = [tuple(_cell(bridge[key]) for key in _COLUMNS) for bridge in shown]
        text = (
            listing(columns, lines, color=invocation.color)
            if lines
            else "no bridge has a NIC of this machine\n"
        )
    return Report(outcomes=rows, extra={"bridges": shown}, text=text)


_COLUMNS = ("name", "dev", "addresses", "mac", "manager", "state")


def _cell(value: object) -> str:
    return "\n".join(map(str, value)) or "-" if isinstance(value, list) else str(value or "-")


def _member(
    bridge: Device, found: dict[str, Device], records: dict[str, Record], state: State | None
) -> JsonObject:
    record = records.get(bridge.name)
    own = record.nic if record is not None else ""
    # Guests' ends have a kind; a container's own NIC has one as well.
    nics = [
        device.name
        for device in found.values()
        if device.master == bridge.name and (not device.kind or device.name == own)
    ]
    waits = state is not None and state.bridge == bridge.name
    return {
        "name": bridge.name,
        "dev": ", ".join(nics) or None,
        "addresses": [str(address) for address in bridge.addresses],
        "mac": bridge.mac,
        "manager": record.manager.value if record is not None else None,
        "made_by_labrun": record is not None or waits,
        "state": "unconfirmed" if waits else "confirmed" if record is not None else "foreign",
    }
