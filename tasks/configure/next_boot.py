"""Whether labrun could log in after the next boot: judged by units, sshd, fstab and NetworkManager.

A new login proves the present state. What takes effect only at boot has to be read: each finding here is
new since the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from labrun.bounded import integer
from labrun.errors import CommandError
from labrun.tasks.configure.boot_chain import chain_faults
from labrun.tasks.configure.networkd_boot import network_file_faults
from labrun.tasks.configure.nic_names import name_faults
from labrun.tasks.configure.nm_config import admits, lists, means
from labrun.tasks.configure.openrc_boot import call_faults, missing_faults
from labrun.tasks.configure.plan import Seen
from labrun.tasks.guest.facts.guard import GUARD
from labrun.tasks.guest.facts.links import links
from labrun.tasks.guest.facts.nft import read_ruleset, suspects
from labrun.tasks.guest.facts.nft_rules import Packet
from labrun.tasks.guest.facts.nm import Device, NmState, observed
from labrun.tasks.guest.keyfile import parse
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["next_boot_fault", "next_boot_probe"]

_LISTENERS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
_ON_THE_WAY = (
    *("sysinit.target", "basic.target", "multi-user.target"),
    *("systemd-logind.service", "systemd-user-sessions.service"),
)
"""What a boot starts before, or for, a login."""
_DEVICES = ("local-fs.target", "systemd-udevd.service", "systemd-udev-trigger.service")
_TARGETS = ("multi-user.target", "graphical.target")
# A boot starts the first kind unconditionally; the others only if another unit pulls them in.
_BY_ITSELF = frozenset({"enabled", "alias", "generated"})
_BY_OTHERS = frozenset({"static", "indirect", "linked", "enabled-runtime"})
_NO = ("false", "no", "0")
_ETHERNET = ("ethernet", "802-3-ethernet")
_NOTHING = Captured("", 127)
_SSH = 22
_INWARD = ("prerouting", "input")

_Units = Mapping[str, Mapping[str, str]]


def next_boot_probe() -> Probe:
    """Return the probe for it, for hosts whose guard covers the whole system."""
    return Probe(
        (),
        assigned({"guard": GUARD})
        + guest_script("services_openrc")
        + guest_script("openrc_boot")
        + guest_script("vital").strip()
        + "\n"
        + "".join(map(guest_script, ("boot_chain", "try_boot", "next_boot"))),
    )


def next_boot_fault(before: Seen, now: Seen, address: str | None) -> str | None:
    """Return why the next boot would lock labrun out, None without evidence of that.

    ``address`` is the one that the new login used: its NIC is the one that has to come up.
    """
    facts = now.facts
    faults: Iterator[str] = _faults(before, facts, address)
    return next(faults, None)


def _faults(before: Seen, facts: Facts, address: str | None) -> Iterator[str]:
    before_units, units = _units(facts, "boot-before"), _units(facts, "boot-now")
    yield from _unit_faults(before_units, units)
    yield from missing_faults(before_units, units)
    yield from call_faults(facts, address)
    sshd = facts.commands.get("boot-sshd")
    if sshd is not None and sshd.status != 0:
        yield f"sshd would not start at the next boot: {sshd.last_line}"
    yield from _manager_faults(facts)
    for line in facts.lines("boot-needs-failed"):
        yield f"{line} did not start, and from the next boot on a login needs it"
    for line in facts.lines("boot-hiding"):
        yield f"at the next boot {line}, which a login needs"
    yield from chain_faults(facts)
    for name, result in facts.commands.items():
        kind, _, unit = name.partition(" ")
        if kind in ("boot-unit", "boot-condition") and result.status != 0:
            yield f"{unit} would not start at the next boot: {result.last_line}"
    yield from _firewall_faults(facts)
    yield from _profile_faults(before.facts, facts, address)
    if address is not None:
        yield from _expiry_faults(before.facts, facts, address)
        yield from network_file_faults(before.facts, facts, address)


def _manager_faults(facts: Facts) -> Iterator[str]:
    """Yield settings of systemd itself that would take sudo and logins their rights."""
    before = facts.lines("boot-manager-before")
    for line in facts.lines("boot-manager"):
        if line not in before and line.partition("=")[2].strip().lower() not in ("", *_NO):
            yield f"everything would start without the rights of a login at the next boot: {line.strip()}"


def _units(facts: Facts, name: str) -> _Units:
    """Return systemd's properties of each unit; empty if it was not asked.

    A service of OpenRC is found by the name that its unit would have, and keeps its own.
    """
    result = facts.commands.get(name, _NOTHING)
    blocks = (
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in result.text.strip().split("\n\n")
    )
    named = ((block["Id"], block) for block in blocks if "Id" in block)
    return {name if "." in name else f"{name}.service": block for name, block in named}


def _name(units: _Units, unit: str) -> str:
    return units.get(unit, {}).get("Id", unit)


def _unit_faults(before: _Units, now: _Units) -> Iterator[str]:
    if not before:
        return
    if not now:
        yield "systemd no longer answers"
        return
    networks = ["NetworkManager.service"]
    if not _runs(before, networks[0]):
        networks = ["systemd-networkd.service", "networking.service"]
    for unit in ("dbus.service", "dbus.socket", "dbus-broker.service", *networks):
        if _runs(before, unit) and not _runs(now, unit):
            yield f"{_name(before, unit)} was running before and is not now"
        yield from _start_faults(before, now, (unit,))
    # In a container there are no devices to wait for.
    devices = [unit for unit in _DEVICES if _runs(before, unit)]
    for unit in (*_ON_THE_WAY, *devices):
        yield from _start_faults(before, now, (unit,))
    yield from _start_faults(before, now, _LISTENERS)
    yield from _ending_faults(before, now, (*_LISTENERS, *networks))
    for unit in (*_LISTENERS, *networks, "dbus.service"):
        known, found = (set(units.get(unit, {}).get("ConflictedBy", "").split()) for units in (before, now))
        for rival in sorted((found - known) & {*_ON_THE_WAY, *_TARGETS}):
            yield f"{rival} would stop {unit} at the next boot: they conflict"
    was, target = (units.get("default.target", {}).get("Target", "") for units in (before, now))
    if target != was and target not in _TARGETS:
        yield f"the next boot would stop at {target or 'nowhere'}"


def _ending_faults(before: _Units, now: _Units, names: Iterable[str]) -> Iterator[str]:
    """Yield the unit that runs for now, but that systemd would stop later."""
    for unit in names:
        known, found = before.get(unit, {}), now.get(unit, {})
        if known.get("ActiveState") == "active" and found.get("ActiveState") == "activating":
            yield f"{unit} was started and does not tell that it is ready: systemd would stop it"
        for key, never, words in (
            ("RuntimeMaxUSec", ("infinity", ""), "would be stopped when it has run for"),
            (
                "WatchdogUSec",
                ("0", "infinity", ""),
                "would be stopped unless it says each time that it lives, every",
            ),
        ):
            value = found.get(key, "")
            if value not in never and known.get(key, "") in never:
                yield f"{unit} {words} {value}"


def _runs(units: _Units, unit: str) -> bool:
    return units.get(unit, {}).get("ActiveState") in ("active", "reloading", "activating")


def _file(units: _Units, unit: str) -> str:
    properties = units.get(unit, {})
    if properties.get("LoadState") not in ("loaded", None):
        return properties["LoadState"]
    return properties.get("UnitFileState") or "not there"


def _start_faults(before: _Units, now: _Units, any_of: tuple[str, ...]) -> Iterator[str]:
    """Yield the unit that a boot would have started, if it would no longer start any of them."""
    best = max(any_of, key=lambda unit: _starts(before, unit))
    if max(_starts(now, unit) for unit in any_of) < _starts(before, best):
        yield f"{_name(before, best)} would not start at the next boot: it is {_file(now, best)}"


def _starts(units: _Units, unit: str) -> int:
    """Return how surely a boot starts a unit: 2 = by itself, 1 = if another unit pulls it in, 0 = not."""
    properties = units.get(unit, {})
    state = properties.get("UnitFileState")
    if properties.get("LoadState") != "loaded":
        return 0
    return 2 if state in _BY_ITSELF else int(state in _BY_OTHERS)


def _firewall_faults(facts: Facts) -> Iterator[str]:
    """Yield the rule of the distribution's firewall file that would drop labrun's packets."""
    result, way = facts.commands.get("boot-nft"), facts.commands.get("boot-way", _NOTHING).text.split()
    if result is None:
        return
    if result.status != 0:
        yield f"nftables.service would fail at the next boot: {result.last_line}"
        return
    try:
        source, target = (ip_address(each.partition("%")[0]) for each in (way[0], way[2]))
        port = integer(way[3]) or _SSH
    except (IndexError, ValueError):
        return
    ruleset = read_ruleset(result.text)
    families = ("inet", "ip" if target.version == 4 else "ip6")
    for suspect in suspects(ruleset, ruleset, Packet(source, target, port=port), _INWARD, families):
        if suspect.sure:
            yield f"/etc/nftables.conf would keep labrun out after the next boot ({suspect.text})"


def _profile_faults(before: Facts, facts: Facts, address: str | None) -> Iterator[str]:
    if "nm" not in facts.commands or address is None:
        return
    try:
        state = observed(facts)
    except CommandError:
        # That NetworkManager no longer answers is reported elsewhere.
        return
    device = _way_in(state, address)
    if device is None or not device.is_managed or not device.file:
        return
    was = _former(before, device)
    settings, former = parse(_text(facts, device.file)), parse(_text(before, device.file))
    name = device.profile_id or device.file
    at_boot = f"{device.interface} would stay down at the next boot: profile {name}"
    for key, bad, words in (
        ("autoconnect", _NO, "is not activated automatically"),
        ("permissions", None, "is for some users only"),
    ):
        value = settings.get("connection", {}).get(key, "")
        if value and (bad is None or value in bad) and value != former.get("connection", {}).get(key, ""):
            yield f"{at_boot} {words} (connection.{key}: {value})"
    fits, fitted = device.file in device.available, was is None or was.file in was.available
    if fitted and not fits:
        yield f"{at_boot} does not fit this machine"
    if device.file.startswith("/run/") and not (was and was.file.startswith("/run/")):
        yield f"{at_boot} is not on the disk"
    if settings.get("connection", {}).get("interface-name"):
        yield from name_faults(facts, device.interface, name)
    stepped_back = _priority(settings.get("connection", {})) < _priority(former.get("connection", {}))
    yield from _rival_faults(facts, device, settings, device.available if stepped_back else ())
    yield from _unmanaged_faults(facts, device)


def _expiry_faults(before: Facts, facts: Facts, address: str) -> Iterator[str]:
    """Yield that the address of this login has been given an end; a lease is renewed."""
    if "link" not in before.commands or "link" not in facts.commands:
        return
    was, now = (
        {
            each.ip
            for link in links(read)
            for each in link.lasting
            if str(each.ip) == address.partition("%")[0]
        }
        for read in (before, facts)
    )
    if was - now:
        yield f"{address} would expire: it had no lifetime before this change"


def _way_in(state: NmState, address: str) -> Device | None:
    try:
        wanted = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    for device in (*state.devices.values(), *state.vlans.values()):
        link = state.nics.get(device.interface)
        if link is not None and any(each.ip == wanted for each in link.addresses):
            return device
    return None


def _former(before: Facts, device: Device) -> Device | None:
    if "nm" not in before.commands:
        return None
    try:
        return observed(before).devices.get(device.mac)
    except CommandError:
        return None


def _text(facts: Facts, path: str) -> str:
    captured = facts.commands.get(f"boot-profile {path}")
    return captured.text if captured is not None else facts.files.get(path, "")


def _rival_faults(
    facts: Facts, device: Device, own: Mapping[str, Mapping[str, str]], others: Iterable[str]
) -> Iterator[str]:
    """Yield the profiles, changed ones and ``others``, that would win over this NIC's profile."""
    changed = (name.partition(" ")[2] for name in facts.commands if name.startswith("boot-profile "))
    for path in dict.fromkeys((*changed, *sorted(others))):
        if path == device.file:
            continue
        rival = parse(_text(facts, path))
        connection = rival.get("connection", {})
        names = (connection.get("interface-name"), device.interface)
        macs = (rival.get("ethernet", {}).get("mac-address", "").lower() or None, device.mac)
        if any(wanted not in (None, "", have) for wanted, have in (names, macs)):
            continue
        if connection.get("autoconnect") in _NO or connection.get("type", _ETHERNET[0]) not in _ETHERNET:
            continue
        if _priority(connection) > _priority(own.get("connection", {})):
            yield f"{path} would take {device.interface} at the next boot"


def _priority(connection: Mapping[str, str]) -> int:
    text = connection.get("autoconnect-priority", "0")
    return int(text) if re.fullmatch(r"-?[0-9]{1,4}", text) else 0


def _unmanaged_faults(facts: Facts, device: Device) -> Iterator[str]:
    before = facts.commands.get("boot-nm-before", _NOTHING)
    now = facts.commands.get("boot-nm")
    if now is None:
        return
    if now.status != 0:
        yield f"NetworkManager would not start at the next boot: {now.last_line}"
        return
    had = set(lists(before.text))
    for key, value, devices in lists(now.text):
        if (key, value, devices) in had or (key == "allowed-connections" and admits(value, device)):
            continue
        if means(devices, device):
            yield f"NetworkManager would leave {device.interface} alone after the next boot ({key}={value})"
