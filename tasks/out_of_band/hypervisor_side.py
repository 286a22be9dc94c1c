"""What the hypervisor knows about a machine's NICs: its ends, bridges, networks, DHCP and neighbours."""

from __future__ import annotations

import json
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from labrun.bounded import address as read_address
from labrun.hypervisor import connect, is_local, translated
from labrun.inventory.model import Address
from labrun.tasks.out_of_band.attempt import Outside, Port
from labrun.tasks.out_of_band.usage import bytes_read, killed_for_memory

__all__ = ["client_towards", "outside_of"]

_SECONDS = 2.0
_PID_FILES = Path("/run/libvirt/network")
_MOST_LINES = 200


def client_towards(address: Address) -> Address | None:
    """Return the address of this machine that packets to ``address`` come from; nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((str(address), 9))
            return ip_address(str(sock.getsockname()[0]).partition("%")[0])
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Network:
    """A network of the lab as it runs: its bridge, the hypervisor's addresses there, whether it has DHCP."""

    name: str
    is_running: bool = True
    bridge: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    has_dhcp: bool = False
    leases: Mapping[str, str] = field(default_factory=dict)


def outside_of(uri: str, domain: Any, networks: Mapping[str, str], at: Address | None) -> Outside:
    """Return what the hypervisor knows about a running machine.

    ``networks`` maps libvirt's names of its networks to those of the lab, ``at`` is the address that should
    answer. The kernel is asked only on a local hypervisor. Raises HypervisorError.
    """
    with translated("networks"):
        seen = {name: _network(connect(uri), name) for name in networks}
        nics = list(ET.fromstring(domain.XMLDesc(0)).iterfind("./devices/interface"))  # noqa: S314 - libvirt's
    local = is_local(uri)
    answers = _neighbour(at) if local and at is not None else ""
    kernel = {str(link.get("ifname")): link for link in _asked("-d", "address")} if local else None
    macs = [nic.find("mac") for nic in nics]
    unplugged = {
        "" if mac is None else mac.get("address", "").lower(): nic
        for mac, nic in zip(macs, nics, strict=True)
    }
    running = {networks[name]: network for name, network in seen.items() if network.is_running}
    with translated("machines"):
        is_container = domain.XMLDesc(0).startswith("<domain type='lxc'")
        killed = killed_for_memory(uri, domain) if is_container else ()
        memory = domain.maxMemory() // 1024 if killed else 0
        read = None if is_container else bytes_read(domain)
    return Outside(
        killed=killed,
        memory=memory,
        read=read,
        ports={mac: _port(nic, seen, kernel) for mac, nic in unplugged.items()},
        stopped=frozenset(networks[name] for name, network in seen.items() if not network.is_running),
        silent=frozenset(name for name, network in running.items() if local and _is_silent(network)),
        unaddressed={
            name: network.bridge
            for name, network in running.items()
            if kernel is not None and network.bridge and not _has_addresses(network, kernel)
        },
        macs={name: network.mac for name, network in running.items() if network.mac},
        answers=answers,
        answerer=_machine_with(connect(uri), answers) if answers and answers not in unplugged else "",
        asked=_last_words(seen.values(), tuple(unplugged)) if local else {},
    )


def _network(connection: Any, name: str) -> _Network:
    import libvirt

    try:
        network = connection.networkLookupByName(name)
        if not network.isActive():
            return _Network(name, is_running=False)
        root = ET.fromstring(network.XMLDesc(0))  # noqa: S314 - libvirt's own output
        dhcp = root.find("./ip/dhcp") is not None
        leases = network.DHCPLeases() if dhcp else []
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return _Network(name, is_running=False)
        raise
    bridge, mac = root.find("bridge"), root.find("mac")
    return _Network(
        name,
        bridge="" if bridge is None else bridge.get("name", ""),
        mac="" if mac is None else mac.get("address", "").lower(),
        addresses=tuple(ip.get("address", "") for ip in root.iterfind("ip")),
        has_dhcp=dhcp,
        leases={str(lease.get("mac")).lower(): f"a lease of {lease.get('ipaddr')}" for lease in leases},
    )


def _machine_with(connection: Any, mac: str) -> str:
    """Return the name of the running machine that has a NIC with this MAC, empty if none has."""
    with translated("machines"):
        for domain in connection.listAllDomains():
            root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own output
            found = root.iterfind("./devices/interface/mac")
            if domain.isActive() and any(each.get("address", "").lower() == mac for each in found):
                return str(domain.name())
    return ""


def _port(nic: ET.Element, networks: Mapping[str, _Network], kernel: Mapping[str, Any] | None) -> Port:
    target, link, source = nic.find("target"), nic.find("link"), nic.find("source")
    device = "" if target is None else target.get("dev", "")
    is_cut = link is not None and link.get("state") == "down"
    if kernel is None or not device or nic.get("type") == "direct":
        # A macvtap or macvlan NIC is in no bridge, and a container's is no device of the hypervisor.
        return Port(device, is_cut=is_cut)
    found = kernel.get(device)
    if found is None:
        return Port(device, is_up=False, is_cut=is_cut)
    network = networks.get("" if source is None else source.get("network", ""))
    meant = network.bridge if network is not None else None
    if not meant and source is not None:
        meant = source.get("bridge")
    about = (found.get("linkinfo") or {}).get("info_slave_data") or {}
    return Port(
        device,
        is_up="UP" in (found.get("flags") or ()),
        bridge=str(found.get("master") or ""),
        meant=meant or None,
        state=str(about.get("state") or ""),
        is_isolated=bool(about.get("isolated")),
        is_cut=is_cut,
    )


def _has_addresses(network: _Network, kernel: Mapping[str, Any]) -> bool:
    held = {each.get("local") for each in (kernel.get(network.bridge) or {}).get("addr_info") or ()}
    return all(address in held for address in network.addresses)


def _is_silent(network: _Network) -> bool:
    """Tell whether the network's dnsmasq is gone."""
    if not network.has_dhcp:
        return False
    try:
        pid = int((_PID_FILES / f"{network.name}.pid").read_text(encoding="ascii"))
        return "dnsmasq" not in Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return True


def _neighbour(address: Address) -> str:
    """Return the MAC that the kernel has found for an address; empty if it has none."""
    for each in _asked("neighbour", "show", "to", str(address)):
        states = each.get("state") or ()
        if each.get("lladdr") and "FAILED" not in states and read_address(each.get("dst")) == address:
            return str(each["lladdr"]).lower()
    return ""


def _asked(*words: str) -> list[dict[str, Any]]:
    """Return the answer of ``ip -j`` in the network of the calling thread; empty if it has none."""
    try:
        done = subprocess.run(
            ["ip", "-j", *words], capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        found = json.loads(done.stdout or b"[]")
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [each for each in found if each]


def _last_words(networks: Iterator[_Network] | Any, macs: tuple[str, ...]) -> dict[str, str]:
    """Return, by MAC, what the DHCP servers last did for a NIC, by their leases and their log."""
    found = {mac: text for network in networks for mac, text in network.leases.items() if mac in macs}
    for line in _logged():
        found |= {mac: line for mac in macs if mac in line.lower()}
    return found


def _logged() -> list[str]:
    """Return what dnsmasq has logged in the last quarter of an hour, on a hypervisor that keeps it."""
    words = (
        "-q",
        "--no-pager",
        "-o",
        "short-iso",
        "-t",
        "dnsmasq-dhcp",
        "--since=-15min",
        "-n",
        str(_MOST_LINES),
    )
    try:
        done = subprocess.run(
            ["journalctl", *words],
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode(errors="replace").splitlines()
