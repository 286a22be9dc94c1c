"""A host bridge by NetworkManager: from the NIC's profile the profiles of a bridge and of its port."""

from __future__ import annotations

from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from labrun.errors import HostBridgeError
from labrun.tasks.guest import keyfile
from labrun.tasks.host_bridge.machine import output
from labrun.tasks.host_bridge.model import Addressing, Change, Device, Manager, Record

__all__ = ["back_to_nic", "managed_profile", "to_bridge"]

# What says how hosts are reached goes to the bridge, the rest of the profile (MTU, 802.1X) to the port.
_OF_ADDRESSES = ("ipv4", "ipv6", "proxy")
_OF_CONNECTION = ("zone", "metered", "mdns", "llmnr", "dns-over-tls")
_REPLACED = ("method", "address", "gateway", "may-fail", "dhcp-", "ignore-auto-")
# Above every profile that was there: the NIC's own stays, for the way back.
_FIRST = "999"


def managed_profile(nic: str) -> tuple[str, str] | None:
    """Return UUID and file of the profile by which NetworkManager holds a NIC, None if it does not.

    Raises HostBridgeError if the NIC is NetworkManager's and has no profile that can be moved.
    """
    state = output("nmcli", "-g", "GENERAL.STATE", "device", "show", nic) or ""
    number = state.split()[0] if state.split() else ""
    if not number.isdigit() or int(number) <= 10 or "externally" in state:
        return None
    uuid = (output("nmcli", "-g", "GENERAL.CON-UUID", "device", "show", nic) or "").strip()
    if int(number) != 100 or not uuid:
        raise HostBridgeError(
            f"{nic} is NetworkManager's, and not connected",
            hint=f"nmcli device connect {nic}, then repeat this command",
        )
    listed = output("nmcli", "--escape", "no", "-g", "UUID,FILENAME", "connection", "show") or ""
    file = next((line.partition(":")[2] for line in listed.splitlines() if line.startswith(f"{uuid}:")), "")
    if not file.endswith(".nmconnection"):
        raise HostBridgeError(
            f"NetworkManager's profile of {nic} is not in a keyfile", hint=f"nmcli connection migrate {uuid}"
        )
    return uuid, file


def to_bridge(nic: Device, bridge: str, uuid: str, file: str, wanted: Addressing | None) -> Change:
    """Return the change that makes a bridge with the NIC as its port."""
    text = Path(file).read_text(encoding="utf-8", errors="surrogateescape")
    own = _uuids(bridge, nic)
    profiles = profiles_of(keyfile.parse(text), nic, bridge, own, wanted)
    new = {f"new/labrun-{bridge}{suffix}.nmconnection": text for suffix, text in profiles.items()}
    values = {"old_uuid": uuid, **own}
    record = Record(bridge, nic.name, Manager.NETWORK_MANAGER, values, before={"profile": text})
    return Change(bridge, nic.name, Manager.NETWORK_MANAGER, True, values, new, record)


def profiles_of(
    old: keyfile.Sections, nic: Device, bridge: str, uuids: dict[str, str], wanted: Addressing | None
) -> dict[str, str]:
    """Return the keyfiles of the bridge and of its port, by the end of their names."""
    connection = old.get("connection", {})
    of_bridge: dict[str, dict[str, str]] = {
        "connection": {
            "id": bridge,
            "uuid": uuids["bridge_uuid"],
            "type": "bridge",
            "interface-name": bridge,
            "autoconnect-slaves": "1",
            **{key: connection[key] for key in _OF_CONNECTION if key in connection},
        },
        # The NIC's MAC: DHCP gives the same address, and switches and filters know it.
        "bridge": {"mac-address": nic.mac, "stp": "false", "forward-delay": "0"},
        **{section: dict(old[section]) for section in _OF_ADDRESSES if section in old},
    }
    if mtu := old.get("ethernet", {}).get("mtu"):
        of_bridge["ethernet"] = {"mtu": mtu}
    for version in wanted.versions if wanted is not None else ():
        assert wanted is not None
        section = f"ipv{version}"
        of_bridge[section] = _static(of_bridge.get(section, {}), wanted, version)
    of_port = {
        "connection": {
            "id": f"{bridge} port {nic.name}",
            "uuid": uuids["port_uuid"],
            "type": "ethernet",
            "interface-name": nic.name,
            "autoconnect-priority": _FIRST,
            "master": bridge,
            "slave-type": "bridge",
        },
        **{
            section: dict(values)
            for section, values in old.items()
            if section not in (*_OF_ADDRESSES, "connection", "user", ".nmmeta")
        },
    }
    return {"": keyfile.render(of_bridge), "-port": keyfile.render(of_port)}


def _static(section: dict[str, str], wanted: Addressing, version: int) -> dict[str, str]:
    kept = {key: value for key, value in section.items() if not key.startswith(_REPLACED)}
    addresses = {
        f"address{number}": str(each) for number, each in enumerate(wanted.addresses_of(version), start=1)
    }
    gateway = wanted.gateway_of(version)
    servers = [str(each) for each in wanted.nameservers if each.version == version]
    return {
        "method": "manual",
        **addresses,
        **({"gateway": str(gateway)} if gateway is not None else {}),
        **({"dns": "".join(f"{each};" for each in servers)} if servers and "dns" not in kept else {}),
        **kept,
    }


def _uuids(bridge: str, nic: Device) -> dict[str, str]:
    """Return UUIDs that another try on this machine would have as well."""
    root = f"labrun:host-bridge:{nic.mac}:{bridge}"
    return {
        "bridge_uuid": str(uuid5(NAMESPACE_URL, root)),
        "port_uuid": str(uuid5(NAMESPACE_URL, f"{root}:port")),
    }


def back_to_nic(record: Record) -> Change:
    """Return the change that gives the NIC its own profile again, and removes those of the bridge."""
    files = {"new/old.nmconnection": record.before["profile"]}
    return Change(record.bridge, record.nic, record.manager, False, record.values, files, None)
