"""A host bridge by netplan: the NIC's definition in the files below /etc/netplan, moved to a bridge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from labrun.errors import HostBridgeError
from labrun.tasks.host_bridge.model import Addressing, Change, Device, Manager, Record

__all__ = ["NETPLAN", "back_to_nic", "definitions", "netplan_files", "to_bridge", "with_bridge"]

NETPLAN = Path("/etc/netplan")
# What is about the hardware stays with the NIC.
_OF_NIC = frozenset(
    {
        *("match", "set-name", "wakeonlan", "auth", "macaddress", "emit-lldp", "openvswitch"),
        *("receive-checksum-offload", "transmit-checksum-offload", "tcp-segmentation-offload"),
        *("tcp6-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"),
        *("large-receive-offload", "virtual-function-count", "embedded-switch-mode"),
        *("delay-virtual-functions-rebind", "infiniband-mode"),
    }
)
_OF_BOTH = frozenset({"renderer", "mtu", "optional", "ignore-carrier", "activation-mode"})
_OF_VERSION = {4: ("dhcp4", "dhcp4-overrides", "gateway4"), 6: ("dhcp6", "dhcp6-overrides", "gateway6")}

Tree = dict[str, Any]


def netplan_files(folder: Path = NETPLAN) -> dict[str, Tree]:
    """Return the trees of the files below ``folder`` by name, in netplan's order.

    Profiles that NetworkManager keeps there itself are NetworkManager's. Raises HostBridgeError for a file
    that cannot be read.
    """
    import yaml

    found = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name.startswith("90-NM-"):
            continue
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise HostBridgeError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        if isinstance(tree, dict) and isinstance(tree.get("network"), dict):
            found[path.name] = tree
    return found


def definitions(files: Mapping[str, Tree], nic: Device) -> list[tuple[str, str]]:
    """Return file and ID of each definition of a NIC: by its name, or by what it matches.

    Raises HostBridgeError for one that other NICs match as well.
    """
    found = []
    for name, tree in files.items():
        for key, body in _section(tree, "ethernets"):
            match = body.get("match") if isinstance(body, dict) else None
            if not isinstance(match, dict):
                if key == nic.name:
                    found.append((name, key))
            elif str(match.get("macaddress", "")).lower() == nic.mac or match.get("name") == nic.name:
                found.append((name, key))
            elif _matches(str(match.get("name", "")), nic.name):
                raise HostBridgeError(
                    f"{NETPLAN / name} configures {nic.name} by a pattern, and other NICs with it",
                    hint=f"give {nic.name} a definition of its own there, then repeat this command",
                )
    return found


def _matches(pattern: str, name: str) -> bool:
    import fnmatch

    return bool(pattern) and fnmatch.fnmatchcase(name, pattern)


def _section(tree: Tree, name: str) -> Iterator[tuple[str, Any]]:
    section = tree["network"].get(name)
    for key, body in section.items() if isinstance(section, dict) else ():
        yield str(key), body


def with_bridge(
    files: Mapping[str, Tree], nic: Device, bridge: str, wanted: Addressing | None
) -> dict[str, str]:
    """Return the new text of each file that changes: the bridge is where the NIC was defined last."""
    import copy

    import yaml

    places = definitions(files, nic)
    trees = {name: copy.deepcopy(files[name]) for name, _ in places}
    merged: Tree = {}
    for name, key in places:
        body = trees[name]["network"]["ethernets"].pop(key) or {}
        _merge(merged, body)
        if not trees[name]["network"]["ethernets"]:
            del trees[name]["network"]["ethernets"]
    last, key = places[-1]
    network = trees[last]["network"]
    own = {each: value for each, value in merged.items() if each in _OF_NIC | _OF_BOTH}
    moved = {each: value for each, value in merged.items() if each not in _OF_NIC}
    for version in wanted.versions if wanted is not None else ():
        assert wanted is not None
        _replace(moved, wanted, version)
    network.setdefault("ethernets", {})[key] = own | {"dhcp4": False, "dhcp6": False, "link-local": []}
    network.setdefault("bridges", {})[bridge] = {
        "interfaces": [key],
        "macaddress": nic.mac,
        "parameters": {"stp": False, "forward-delay": 0},
        **moved,
    }
    return {name: yaml.safe_dump(tree, sort_keys=False) for name, tree in trees.items()}


def _merge(into: Tree, body: Tree) -> None:
    """Merge as netplan does: later scalars win, lists grow, mappings merge."""
    for key, value in body.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        elif isinstance(present, list) and isinstance(value, list):
            into[key] = present + [each for each in value if each not in present]
        else:
            into[key] = value


def _replace(body: Tree, wanted: Addressing, version: int) -> None:
    for key in _OF_VERSION[version]:
        body.pop(key, None)
    body[f"dhcp{version}"] = False
    kept = [each for each in body.get("addresses", []) if _version(each) != version]
    body["addresses"] = kept + [str(each) for each in wanted.addresses_of(version)]
    routes = [each for each in body.get("routes", []) if not _is_default(each, version)]
    if (gateway := wanted.gateway_of(version)) is not None:
        routes.append({"to": "0.0.0.0/0" if version == 4 else "::/0", "via": str(gateway)})
    if routes:
        body["routes"] = routes
    else:
        body.pop("routes", None)
    servers = [str(each) for each in wanted.nameservers if each.version == version]
    if servers and "nameservers" not in body:
        body["nameservers"] = {"addresses": servers}


def _version(address: Any) -> int:
    text = next(iter(address), "") if isinstance(address, dict) else str(address)
    return 6 if ":" in str(text) else 4


def _is_default(route: Any, version: int) -> bool:
    if not isinstance(route, dict):
        return False
    to, via = str(route.get("to", "")), str(route.get("via", ""))
    if to == "default":
        return (6 if ":" in via else 4) == version
    try:
        prefix = ip_network(to, strict=False)
    except ValueError:
        return False
    return prefix.version == version and prefix.prefixlen == 0


def to_bridge(nic: Device, bridge: str, wanted: Addressing | None) -> Change:
    """Return the change that makes a bridge with the NIC as its port."""
    new = with_bridge(netplan_files(), nic, bridge, wanted)
    old = {name: (NETPLAN / name).read_text(encoding="utf-8") for name in new}
    record = Record(bridge, nic.name, Manager.NETPLAN, {}, before=old, after=new)
    return _change(record, old, new, to_bridge=True)


def back_to_nic(record: Record) -> Change:
    """Return the change that puts the files back as they were before the bridge."""
    return _change(record, record.after, record.before, to_bridge=False)


def _change(record: Record, old: Mapping[str, str], new: Mapping[str, str], *, to_bridge: bool) -> Change:
    files = {f"old-files/{name}": text for name, text in old.items()}
    files |= {f"new/{name}": text for name, text in new.items()}
    values = {"files": " ".join(new)}
    return Change(
        record.bridge, record.nic, record.manager, to_bridge, values, files, record if to_bridge else None
    )
