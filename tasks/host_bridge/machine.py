"""The devices of this machine, and whether a bridge can be made of one of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from pathlib import Path

from labrun.bounded import objects, read_json
from labrun.errors import HostBridgeError, UsageError
from labrun.inventory.model import Address
from labrun.tasks.host_bridge.model import Device

__all__ = ["devices", "is_fit", "nameservers", "output", "require_fit", "require_name", "require_root"]

_SECONDS = 60
# Devices of several NICs, or parts of one, that others than labrun know how to bridge.
_CARRIERS = ("bond", "team", "vlan")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
_RESOLV = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")


def output(*words: str) -> str | None:
    """Return what a program prints, None if it fails or is not there."""
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return None
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *words[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _rows(*words: str) -> list[Mapping[str, object]]:
    text = output("ip", "-j", *words)
    if text is None:
        raise HostBridgeError(f"`ip {' '.join(words)}` fails on this machine", step="host-bridge")
    return list(objects(read_json(text.strip() or "[]", "ip"), "ip", "rows"))


def devices() -> dict[str, Device]:
    """Return this machine's devices by name. Raises HostBridgeError if `ip` cannot say."""
    rows = _rows("-d", "address")
    routes = [each for version in ("-4", "-6") for each in _rows(version, "route", "show", "default")]
    return {name: _device(row, rows, routes) for row in rows if (name := str(row.get("ifname", "")))}


def _device(
    row: Mapping[str, object], rows: list[Mapping[str, object]], routes: list[Mapping[str, object]]
) -> Device:
    name = str(row["ifname"])
    info = row.get("linkinfo")
    kind = str(info.get("info_kind", "")) if isinstance(info, dict) else ""
    held = row.get("addr_info")
    addresses = [
        ip_interface(f"{each['local']}/{each['prefixlen']}")
        for each in (held if isinstance(held, list) else ())
        if isinstance(each, dict) and each.get("scope") == "global" and "local" in each
    ]
    below = Path("/sys/class/net", name)
    return Device(
        name=name,
        mac=str(row.get("address", "")),
        kind=kind,
        master=str(row.get("master", "")),
        wireless=(below / "wireless").exists() or (below / "phy80211").exists(),
        loopback=row.get("link_type") == "loopback",
        addresses=tuple(addresses),
        gateways=tuple(_gateways(name, routes)),
        # The other end of a veth is named here as well, if it is in the same namespace.
        above=tuple(
            str(each["ifname"])
            for each in rows
            if each.get("link") == name
            and isinstance(other := each.get("linkinfo"), dict)
            and other.get("info_kind") != "veth"
        ),
    )


def _gateways(name: str, routes: list[Mapping[str, object]]) -> Iterator[Address]:
    for route in routes:
        if route.get("dev") == name and isinstance(gateway := route.get("gateway"), str):
            yield ip_address(gateway)


def nameservers() -> tuple[Address, ...]:
    """Return the name servers that this machine asks, without those on itself."""
    for path in _RESOLV:
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        found = []
        for words in map(str.split, lines):
            try:
                address = ip_address(words[1]) if words[:1] == ["nameserver"] else None
            except (ValueError, IndexError):
                continue
            if address is not None and not address.is_loopback:
                found.append(address)
        return tuple(found)
    return ()


def require_root(what: str) -> None:
    """Raise HostBridgeError unless this process is root's."""
    if os.geteuid() != 0:
        raise HostBridgeError(f"{what} this machine's network needs root", hint="run it with sudo")


def require_name(name: str) -> None:
    """Raise UsageError for what cannot be the name of a bridge."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot be the name of a bridge',
            hint="1 to 15 letters, digits, dots, - and _, the first a letter: br0",
        )


def require_fit(nic: str, bridge: str, found: Mapping[str, Device]) -> Device:
    """Return the device, which can become the port of a new bridge.

    Raises UsageError if there is no such device, HostBridgeError if it cannot be in a bridge or the name is
    taken.
    """
    device = found.get(nic)
    if device is None:
        names = ", ".join(each.name for each in found.values() if not _unfit(each)) or "none that fits"
        raise UsageError(f"this machine has no device {nic}", hint=f"its NICs: {names}")
    if (why := _unfit(device)) is not None:
        raise HostBridgeError(*why[:1], hint=why[1])
    if bridge in found:
        kind = found[bridge].kind or "device"
        raise HostBridgeError(
            f"{bridge} already exists, and labrun did not create it: it is a {kind}",
            hint="take another name, or use that bridge: networks.N: {mode: bridge, bridge: " + bridge + "}",
        )
    return device


def is_fit(device: Device) -> bool:
    """Return whether a device can become the port of a bridge."""
    return _unfit(device) is None


def _instead(device: Device) -> str:
    if device.kind == "bridge":
        return f"use it as it is: networks.N: {{mode: bridge, bridge: {device.name}}}"
    if device.kind in _CARRIERS:
        return (
            f"make a bridge of {device.name} with what configures it, and use that: "
            "networks.N: {mode: bridge, bridge: BRIDGE}"
        )
    return "name a wired NIC"


def _unfit(device: Device) -> tuple[str, str] | None:
    """Return why a device cannot be put into a bridge, and what to do; None if it can."""
    name = device.name
    if device.loopback:
        return f"{name} is the loopback device", "name a NIC"
    if device.wireless:
        return (
            f"{name} is wireless: an access point accepts frames of one MAC address only",
            "use a wired NIC, or a network with mode: nat",
        )
    if device.master:
        return f"{name} is a port of {device.master} already", f"use {device.master}, or remove it first"
    if device.kind not in ("", "veth"):
        return f"{name} is a {device.kind}, not a NIC", _instead(device)
    if device.above:
        above = ", ".join(device.above)
        return (
            f"{above} {'is' if len(device.above) == 1 else 'are'} stacked on {name}",
            f"what is stacked on a NIC in a bridge gets no frames: remove {above} first",
        )
    return None
