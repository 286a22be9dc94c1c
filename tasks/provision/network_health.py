"""What keeps a running network working beside its XML: its dnsmasq, its bridge, libvirt's firewall rules."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path

from labrun.tasks.provision.hypervisor_network import FORWARDING, HypervisorNetwork
from labrun.tasks.provision.network_settings import HEALTHY

__all__ = ["end_dnsmasq", "network_health", "wake_dnsmasq"]

_PID_FILES = Path("/run/libvirt/network")
_SETTINGS = Path("/etc/libvirt/network.conf")
_NO_RULES = re.compile(r"""^[ \t]*+firewall_backend[ \t]*+=[ \t]*+["']none["']""", re.MULTILINE)
# Modes whose packets libvirt's rules let through or reject; without <forward> it is "isolated".
_FILTERED = ("nat", "route", "isolated")
_FORWARDED = ("nat", "route", "open")
# Where iptables enters libvirt's chains, by table: without these the rules in them are never reached.
_JUMPS = {
    "filter": ("-A INPUT -j LIBVIRT_INP", "-A FORWARD -j LIBVIRT_FWI", "-A FORWARD -j LIBVIRT_FWO"),
    "nat": ("-A POSTROUTING -j LIBVIRT_PRT",),
}
# Since libvirt 10.4 its rules may be in tables of its own.
_NFT_TABLE = "libvirt_network"


def network_health(name: str, xml: str, here: HypervisorNetwork | None) -> Mapping[str, str]:
    """Return ``dnsmasq``, ``device`` and ``firewall`` of a running network, each "ok" or what is wrong.

    ``name`` is libvirt's, ``xml`` the running network's. What cannot be seen from here is "ok".
    """
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    forward = root.find("forward")
    mode = "isolated" if forward is None else forward.get("mode", "nat")
    bridge = root.find("bridge")
    if here is None or bridge is None or mode in ("bridge", "passthrough", "private", "vepa", "hostdev"):
        return dict.fromkeys(("dnsmasq", "device", "firewall"), HEALTHY)
    addresses = list(_addresses(root))
    device = _device(bridge.get("name", ""), addresses, root.find("mtu"), here)
    if device == HEALTHY and mode in _FORWARDED:
        device = _forwarding(bridge.get("name", ""), addresses, here)
    return {
        "dnsmasq": _dnsmasq(name) if addresses and _needs_dnsmasq(root) else HEALTHY,
        "device": device,
        "firewall": _firewall(bridge.get("name", ""), mode, addresses, here.rules),
    }


def _addresses(root: ET.Element) -> Iterator[IPv4Interface | IPv6Interface]:
    for found in root.findall("ip"):
        address, length = found.get("address"), found.get("prefix") or found.get("netmask")
        if address and length:
            yield ip_interface(f"{address}/{length}")


def _needs_dnsmasq(root: ET.Element) -> bool:
    """Tell whether libvirt runs one for a network that has addresses: for DHCP, or for DNS."""
    return root.find("ip/dhcp") is not None or root.find("dns[@enable='no']") is None


def wake_dnsmasq(name: str) -> None:
    """Let a network's dnsmasq go on if it is stopped by a signal: libvirt could not end it."""
    pid = _pid(name)
    if pid is not None and _is_stopped(pid):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def end_dnsmasq(name: str) -> None:
    """Kill the dnsmasq of a network that does not run, if it is there."""
    pid = _pid(name)
    if pid is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _dnsmasq(name: str) -> str:
    if not _PID_FILES.is_dir():
        return HEALTHY
    try:
        pid = _pid(name)
        if pid is None:
            return "not running"
        return "stopped" if _is_stopped(pid) else HEALTHY
    except PermissionError:
        return HEALTHY


def _pid(name: str) -> int | None:
    """Return the PID of the network's dnsmasq, None if it does not run. Raises PermissionError."""
    try:
        pid = int((_PID_FILES / f"{name}.pid").read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return pid if f"/{name}.conf" in words else None


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _device(
    bridge: str,
    addresses: list[IPv4Interface | IPv6Interface],
    mtu: ET.Element | None,
    here: HypervisorNetwork,
) -> str:
    link = here.links.get(bridge)
    if link is None:
        return f"{bridge} is gone"
    if bridge not in here.up:
        return f"{bridge} is down"
    missing = [str(each) for each in addresses if each not in link.addresses]
    if missing:
        return f"{bridge} without {' '.join(missing)}"
    # Without one in the definition, a bridge follows its ports.
    if mtu is not None and link.mtu is not None and mtu.get("size") != str(link.mtu):
        return f"{bridge} with the MTU {link.mtu}"
    return HEALTHY


def _forwarding(bridge: str, addresses: list[IPv4Interface | IPv6Interface], here: HypervisorNetwork) -> str:
    """Return which switch of the kernel is off that libvirt has set for the network."""
    off = [key for version, key in FORWARDING.items() if version in here.not_forwarding]
    needed = [FORWARDING[version] for version in dict.fromkeys(each.version for each in addresses)]
    missing = [key.replace("/", ".") for key in off if key in needed]
    return f"{bridge} without forwarding ({' and '.join(missing)} 0)" if missing else HEALTHY


def _firewall(
    bridge: str, mode: str, addresses: list[IPv4Interface | IPv6Interface], rules: Mapping[str, str]
) -> str:
    if not rules or mode not in _FILTERED or _has_no_rules():
        return HEALTHY
    masqueraded = [str(each.network) for each in addresses if each.version == 4] if mode == "nat" else []
    if _NFT_TABLE in rules.get("nft", ""):
        lines = rules["nft"].splitlines()
        missing = [] if any(f'"{bridge}"' in line for line in lines) else [f"the rules of {bridge}"]
        missing += _not_masqueraded(masqueraded, lines)
    else:
        missing = _missing(bridge, rules.get("iptables-save", "").splitlines(), nat=bool(masqueraded))
        missing += _not_masqueraded(masqueraded, rules.get("iptables-save", "").splitlines())
        if any(each.version == 6 for each in addresses):
            found = _missing(bridge, rules.get("ip6tables-save", "").splitlines(), nat=False)
            missing += [f"{each} (IPv6)" for each in found]
    return f"without {', '.join(missing)}" if missing else HEALTHY


def _has_no_rules() -> bool:
    """Tell whether libvirt was told to leave the firewall alone."""
    try:
        return bool(_NO_RULES.search(_SETTINGS.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def _missing(bridge: str, lines: list[str], *, nat: bool) -> list[str]:
    name = re.escape(bridge)
    wanted = (rf"-A LIBVIRT_INP -i {name} ", rf"-A LIBVIRT_FWO .*-i {name} ", rf"-A LIBVIRT_FWI .*-o {name} ")
    is_there = all(any(re.match(pattern, line) for line in lines) for pattern in wanted)
    missing = [] if is_there else [f"the rules of {bridge}"]
    for table, jumps in _JUMPS.items():
        if (table == "filter" or nat) and not set(jumps) <= set(lines):
            missing.append(f"the jumps to libvirt's chains in {table}")
    return missing


def _not_masqueraded(subnets: list[str], lines: list[str]) -> list[str]:
    return [
        f"the masquerading of {subnet}"
        for subnet in subnets
        if not any(subnet in line and "masquerade" in line.lower() for line in lines)
    ]
