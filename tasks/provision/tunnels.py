"""The ends of tunnels on a hypervisor: what they should be, what they are, and how they become it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from socket import if_nameindex
from typing import Any

from labrun.bounded import objects, read_json
from labrun.errors import HypervisorError, UnreadableError
from labrun.hypervisor import is_local, translated
from labrun.inventory.model import Lab
from labrun.inventory.topology.tunnels import PORT, Tunnel
from labrun.tasks.guest.scripts import hypervisor_script, quote
from labrun.tasks.provision.hypervisor_shell import run_as_root, typed_on
from labrun.tasks.provision.objects import Observed, Plan, Planned, Spec, item_of, plan_of, yes_or_no

__all__ = [
    "apply_tunnel",
    "may_have_tunnels",
    "observe_tunnels",
    "plan_tunnel",
    "remove_tunnel",
    "tunnel_commands",
    "tunnel_spec",
]

_ALIAS = "labrun:"
_ALL = "00:00:00:00:00:00"


def tunnel_spec(lab: Lab, tunnel: Tunnel) -> Spec:
    """Return the spec of an end. Its ``xml`` is the script that makes it, but for the bridge."""
    want = {
        "vni": str(tunnel.vni),
        "port": str(PORT),
        "local": str(tunnel.local),
        "learning": "no",
        "bridge": lab.libvirt_name(tunnel.network),
        "up": "yes",
        "peers": " ".join(sorted(map(str, tunnel.peers.values()))),
        "macs": " ".join(sorted(f"{mac}={at}" for mac, at in tunnel.macs.items())),
        "mtu": str(tunnel.mtu or ""),
        "firewall": _digest(tunnel),
    }
    full_name = f"{tunnel.device}/{lab.libvirt_name(tunnel.network)}"
    return Spec(lab.name, tunnel.network, full_name, want, _script(lab, tunnel))


def _script(lab: Lab, tunnel: Tunnel) -> str:
    """Return the shell that makes the device anew; ``$bridge`` is libvirt's for the network."""
    device = tunnel.device
    mtu = f" mtu {tunnel.mtu}" if tunnel.mtu is not None else ""
    # Fragments of tunnels get lost; IPv6 has none on the way.
    more = f"dstport {PORT} nolearning" + (" df set" if tunnel.local.version == 4 else "")
    alias = quote(f"{_ALIAS}{lab.name}/{tunnel.network}")
    lines = [
        f"ip link show {device} >/dev/null 2>&1 && ip link delete {device}",
        "set -e",
        f"ip link add {device}{mtu} type vxlan id {tunnel.vni} local {tunnel.local} {more}",
        f"ip link set {device} alias {alias}",
        f'ip link set {device} master "$bridge"',
        *(f"bridge fdb append {_ALL} dev {device} dst {peer} self" for peer in tunnel.peers.values()),
        *(f"bridge fdb replace {mac} dev {device} dst {at} self" for mac, at in tunnel.macs.items()),
        f"ip link set {device} up",
        "if command -v nft >/dev/null; then nft -f - <<'NFT'",
        _rules(tunnel).rstrip(),
        "NFT",
        "fi",
    ]
    return "\n".join(lines) + "\n"


def _rules(tunnel: Tunnel) -> str:
    """Return the table that lets this tunnel's packets in from its peers only."""
    family = "ip" if tunnel.local.version == 4 else "ip6"
    peers = ", ".join(sorted(map(str, tunnel.peers.values())))
    table = f"table inet {tunnel.device}"
    # The tunnel's identifier follows the header of UDP and four bytes of VXLAN's.
    match = f"udp dport {PORT} @th,96,24 {tunnel.vni:#x} {family} saddr != {{ {peers} }}"
    comment = f"labrun-rule {tunnel.device} {_digest(tunnel)}"
    return (
        f"{table}\ndelete {table}\n{table} {{\n chain input {{\n  type filter hook input priority -10;\n"
        f'  {match} drop comment "{comment}"\n }}\n}}\n'
    )


def _digest(tunnel: Tunnel) -> str:
    text = " ".join([str(tunnel.vni), *sorted(map(str, tunnel.peers.values()))])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def observe_tunnels(connection: Any, lab: str) -> dict[str, Observed]:
    """Return every end that carries the lab's name, by network. Raises HypervisorError."""
    text = run_as_root(connection.getURI(), hypervisor_script("tunnel_look"))
    try:
        links_text, table_text, rules = text.split("@\n")
        links = objects(read_json(links_text.strip() or "[]", "ip link"), "ip link", "links")
        rows = objects(read_json(table_text.strip() or "[]", "bridge fdb"), "bridge fdb", "entries")
    except (ValueError, UnreadableError) as error:
        raise HypervisorError(f"the devices cannot be read: {error}", step="tunnel") from error
    bridges = _bridges(connection, lab)
    found = {}
    for link in links:
        name, alias = str(link.get("ifname", "")), str(link.get("ifalias", ""))
        owner, _, network = alias.removeprefix(_ALIAS).partition("/")
        if alias.startswith(_ALIAS) and owner == lab:
            have = _have(link, rows, rules, bridges)
            found[network] = Observed(f"{name}/{lab}-{network}", have)
    return found


def may_have_tunnels(uri: str) -> bool:
    """Tell whether a local hypervisor has devices with the names of tunnels: of this lab, or of another."""
    return is_local(uri) and os.geteuid() == 0 and any(name.startswith("lrv") for _, name in if_nameindex())


def _have(
    link: Mapping[str, Any], rows: list[Mapping[str, Any]], rules: str, bridges: Mapping[str, str]
) -> dict[str, str]:
    name = str(link.get("ifname", ""))
    info = (link.get("linkinfo") or {}).get("info_data") or {}
    own = [row for row in rows if row.get("ifname") == name and row.get("dst")]
    nft, *lines = rules.split("\n") if rules.strip() else [""]
    rule = next((line for line in lines if f"labrun-rule {name} " in line), "")
    have = {
        "vni": str(info.get("id", "")),
        "port": str(info.get("port", "")),
        "local": str(info.get("local") or info.get("local6") or ""),
        "learning": yes_or_no(info.get("learning")),
        "bridge": bridges.get(str(link.get("master", "")), str(link.get("master", ""))),
        "up": yes_or_no("UP" in (link.get("flags") or ())),
        "peers": " ".join(sorted(str(row["dst"]) for row in own if row.get("mac") == _ALL)),
        "macs": " ".join(sorted(f"{row['mac']}={row['dst']}" for row in own if row.get("mac") != _ALL)),
        "mtu": str(link.get("mtu", "")),
        "firewall": rule.rpartition(f"labrun-rule {name} ")[2].partition('"')[0],
    }
    # Where nft is not installed there is no table, and none can be made.
    return have if nft == "yes" else {**have, "firewall": "no nft"}


def _bridges(connection: Any, lab: str) -> dict[str, str]:
    """Return the network of the lab that each bridge belongs to, by libvirt's names."""
    import libvirt

    found = {}
    with translated("tunnel"):
        for network in connection.listAllNetworks():
            # Others, such as macvtap networks, have no bridge.
            if network.isActive() and network.name().startswith(f"{lab}-"):
                with suppress(libvirt.libvirtError):
                    found[str(network.bridgeName())] = str(network.name())
    return found


def plan_tunnel(spec: Spec, seen: Observed | None) -> Plan:
    """Return the plan of an end: one that differs is made anew, which costs no more than a packet."""
    want = dict(spec.want)
    if not want["mtu"]:
        del want["mtu"]
    if seen is not None and seen.have.get("firewall") == "no nft":
        want["firewall"] = "no nft"
    return plan_of(item_of(spec.name, want, seen), "update")


def apply_tunnel(connection: Any, spec: Spec, plan: Plan) -> None:
    """Carry out a plan. Raises HypervisorError."""
    if plan.action == "none":
        return
    with translated(f"tunnel {spec.name}"):
        bridge = connection.networkLookupByName(spec.want["bridge"]).bridgeName()
    run_as_root(connection.getURI(), f"bridge={quote(bridge)}\n{spec.xml}")


def remove_tunnel(connection: Any, lab: str, full_name: str) -> bool:
    """Remove the device of an end and its table; return False if there was none."""
    device = full_name.partition("/")[0]
    table = f"table inet {device}"
    script = (
        f"ip link delete {device} 2>/dev/null && echo yes\n"
        f"if command -v nft >/dev/null; then printf '{table}\\ndelete {table}\\n' | nft -f -; fi\n"
    )
    return bool(lab) and "yes" in run_as_root(connection.getURI(), script)


def tunnel_commands(uri: str, planned: Planned) -> list[str]:
    """Return the commands that make an end by hand."""
    if planned.plan.action == "none":
        return []
    name = planned.spec.want["bridge"]
    bridge = f"bridge=$(LC_ALL=C virsh -c {uri} net-info {name} | awk '$1 == \"Bridge:\" {{print $2}}')"
    # The script is quoted, so the name of the bridge has to come from there.
    own = bridge.replace(uri, f"{uri.partition('+')[0].partition(':')[0]}:///system")
    return [typed_on(uri, f"{own}\n{planned.spec.xml}")]
