"""What a fork begins with: the lab's networks and rules, and containers on what the lab has written."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of, translated
from labrun.ownership import read_tag
from labrun.tasks.forks.namespace import own_folder, state_folder
from labrun.tasks.provision import nft
from labrun.tasks.provision.snapshot_store import Snapshot
from labrun.tasks.snapshots.containers import DEFINITION, UPPER

__all__ = ["copy_networks", "copy_state", "define_all", "lay_out"]

_NETWORKS = "networks"
_TABLES = "tables.nft"
_SECONDS = 10


def copy_networks(fork: Snapshot, uri: str) -> None:
    """Write the XML of the lab's networks, and labrun's tables of nftables for the lab, into the fork.

    Raises HypervisorError for networks that need a device of this machine.
    """
    import libvirt

    folder = own_folder(fork) / _NETWORKS
    folder.mkdir(parents=True)
    with translated("networks"):
        for network, xml in networks_of(
            connect(uri), lambda each: str(each.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        ):
            tag = read_tag(xml)
            if tag is None or tag.lab != fork.lab or not tag.fits(network.name()):
                continue
            if device := _direct_device(xml):
                raise HypervisorError(
                    f"the network {network.name()} is on {device}, and a fork has no such device",
                    step="fork",
                    hint="networks of mode macvtap cannot be forked",
                )
            (folder / f"{network.name()}.xml").write_text(xml, encoding="utf-8")
    if not nft.unusable(uri):
        found = [(family, table) for family, table in nft.tables() if table.startswith(f"labrun/{fork.lab}/")]
        text = "".join(nft.listing(table, [family]) for family, table in found)
        (own_folder(fork) / _TABLES).write_text(text, encoding="utf-8")


def copy_state(fork: Snapshot, root: Path) -> None:
    """Give the fork a copy of the lab's keys and known_hosts, whose directory is ``root``."""
    target = state_folder(fork) / root.name
    target.mkdir(parents=True, mode=0o700)
    for name in ("id_ed25519", "id_ed25519.pub", "known_hosts", "console_secret", "fault"):
        if (root / name).is_file():
            shutil.copy2(root / name, target / name)


def lay_out(fork: Snapshot) -> None:
    """Make the directories of the fork's containers: empty upper layers on what the lab's had written."""
    for host, kept in fork.machines.items():
        directory = own_folder(fork) / "labs" / fork.lab / host
        for name in ("upper", "work", "root"):
            (directory / name).mkdir(parents=True)
        directory.chmod(0o700)
        # The root of an overlay has the mode of its upper layer.
        shutil.copystat(fork.of(host) / UPPER, directory / "upper")
        (directory / "complete").write_text(f"{fork.of(host) / UPPER}:{kept.base}", encoding="utf-8")


def define_all(fork: Snapshot, uri: str) -> None:
    """Inside the fork: start its networks, load its tables, and define its containers.

    Raises HypervisorError.
    """
    connection = connect(uri)
    with translated("fork"):
        for file in sorted((own_folder(fork) / _NETWORKS).glob("*.xml")):
            _define_network(connection, file.read_text(encoding="utf-8"))
        for host in fork.machines:
            connection.defineXML((fork.of(host) / DEFINITION).read_text(encoding="utf-8"))
    tables = own_folder(fork) / _TABLES
    if tables.exists() and (text := tables.read_text(encoding="utf-8")):
        nft.run(["nft", "-f", "-"], text)


def _define_network(connection: Any, xml: str) -> None:
    bridge = _outer_bridge(xml)
    if bridge and not Path("/sys/class/net", bridge).exists():
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
    network = connection.networkDefineXML(xml)
    network.setAutostart(1)
    if not network.isActive():
        network.create()


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise HypervisorError(f"ip {' '.join(words)}: {error}", step="fork") from error


def _outer_bridge(xml: str) -> str:
    """Return the bridge that a network of mode ``bridge`` is on, empty for any other."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    forward, bridge = root.find("forward"), root.find("bridge")
    if forward is None or bridge is None or forward.get("mode") != "bridge":
        return ""
    return bridge.get("name", "")


def _direct_device(xml: str) -> str:
    """Return the device that a macvtap network is on, empty for any other."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    forward = root.find("forward")
    if forward is None or forward.get("mode") not in ("bridge", "private", "vepa", "passthrough"):
        return ""
    interface = forward.find("interface")
    device = forward.get("dev") or ("" if interface is None else interface.get("dev", ""))
    return "" if root.find("bridge") is not None else device or ""
