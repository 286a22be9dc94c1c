"""Read a topology of netlab (`topology.yml`): nodes, and links in their many spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final

from labrun.inventory.file.source import Source
from labrun.inventory.file.yaml_tree import Node
from labrun.inventory.starting.draft import Draft, DraftHost, DraftNetwork, DraftNic, misread, short
from labrun.inventory.starting.names import label, unique
from labrun.inventory.starting.yaml_source import at, members, text_of, texts_of

__all__ = ["read_netlab"]

_TAKEN: Final = ("name", "nodes", "links", "defaults", "provider", "version", "message", "prefix", "groups")
_OF_NODE: Final = ("name", "device", "role", "memory", "cpu", "id", "image", "box", "provider")
_OF_LINK: Final = (
    "interfaces",
    "prefix",
    "type",
    "name",
    "bridge",
    "mtu",
    "role",
    "linkname",
)
_HOST_ROLES: Final = ("host",)
_HOST_DEVICES: Final = ("linux",)


def read_netlab(source: Source, root: Node) -> Draft:
    """Return the draft of a topology. Raises UsageError if it has no nodes."""
    draft = Draft(source.name, "a netlab topology", text_of(at(root, "name")) or "")
    device = text_of(at(root, "defaults", "device")) or text_of(at(root, "defaults.device"))
    _nodes(draft, at(root, "nodes"), device, _devices_of_groups(at(root, "groups")))
    if not draft.hosts:
        raise misread(source.name, "nodes names no machine", root.line)
    links = at(root, "links")
    prefixes = at(root, "prefix")
    for node in _flat(links):
        _link(draft, node, prefixes)
    for key, _, line in members(root):
        if key.split(".")[0] not in _TAKEN:
            draft.leave_out(short(key), _why(key), line)
    for key in ("components", "include"):
        if at(root, key) is not None:
            draft.leave_out(key, "parts of the topology in other places are not read")
    return draft


def _why(key: str) -> str:
    if key in ("module", "bgp", "ospf", "isis", "eigrp", "mpls", "vrfs"):
        return "labrun gives routers static routes to every network"
    if key in ("vlan", "vlans"):
        return "write a network with the key `vlan` for each"
    if key == "addressing":
        return "labrun derives addresses in its own way where the topology gives none"
    if key == "validate":
        return "labrun derives what is to hold, and `checks` adds to it"
    return "has no counterpart"


def _devices_of_groups(groups: Node | None) -> dict[str, str]:
    """Return the device that a group gives its members, by node."""
    return {
        name: device
        for _, group, _ in members(groups)
        if (device := text_of(at(group, "device"))) is not None
        for name, _ in texts_of(at(group, "members"))
    }


def _nodes(draft: Draft, nodes: Node | None, default: str | None, of_groups: Mapping[str, str]) -> None:
    def device(called: str) -> str | None:
        return of_groups.get(called, default)

    if nodes is not None and isinstance(nodes.value, int) and not isinstance(nodes.value, bool):
        for number in range(1, min(nodes.value, 26) + 1):
            _add(draft, f"x{number}", device(f"x{number}"), None, nodes.line)
        return
    if nodes is not None and isinstance(nodes.value, list):
        for node in nodes.value:
            called = text_of(node) or text_of(at(node, "name"))
            if called is None:
                draft.leave_out("a node", "it has no name", node.line)
            else:
                _add(draft, called, device(called), node, node.line)
    for called, node, line in members(nodes):
        _add(draft, called, device(called), node, line)


def _add(draft: Draft, called: str, device: str | None, node: Node | None, line: int) -> None:
    kind = text_of(at(node, "device")) or device
    role = text_of(at(node, "role"))
    told = [f"device {kind}"] if kind else []
    host = draft.add_host(called, ", ".join([called, *told]) if told else "")
    if role == "bridge":
        del draft.hosts[called]
        draft.add_network(called, f"the bridge {called}")
        return
    if role is not None:
        host.router = role not in _HOST_ROLES
    else:
        # netlab's nodes are routers unless something says that they are hosts.
        host.router = kind not in _HOST_DEVICES
    if kind is not None and kind not in (*_HOST_DEVICES, "frr"):
        draft.leave_out(f"{host.name}: device {short(kind)}", "labrun makes Linux machines", line)
    memory, cpu = text_of(at(node, "memory")), text_of(at(node, "cpu"))
    if memory is not None and re.fullmatch(r"\d{1,7}", memory):
        host.memory = max(256, min(1_048_576, int(memory)))
    if cpu is not None and re.fullmatch(r"\d{1,3}", cpu):
        host.vcpus = max(1, min(64, int(cpu)))
    rest = [key for key, _, _ in members(node) if key not in _OF_NODE]
    if rest:
        draft.leave_out(f"{host.name}: {', '.join(map(short, rest[:12]))}", "has no counterpart", line)


def _flat(links: Node | None) -> list[Node]:
    """Return the links; netlab also takes groups of links, and a mapping of lists of links."""
    if links is None:
        return []
    if isinstance(links.value, list):
        return [
            link
            for each in links.value
            for link in (_flat(at(each, "members")) if at(each, "group") is not None else [each])
        ]
    return [link for _, group, _ in members(links) for link in _flat(group)]


def _link(draft: Draft, link: Node, prefixes: Node | None) -> None:
    ends = _ends(draft, link)
    if ends is None:
        return
    names = [name for name, _ in ends]
    bridges = [name for name in names if name in draft.networks]
    given = text_of(at(link, "bridge")) or text_of(at(link, "name"))
    kind = text_of(at(link, "type"))
    if kind in ("loopback", "tunnel", "vlan_member"):
        draft.leave_out(f"a link of type {kind}", "has no counterpart", link.line)
        return
    if len(bridges) > 1:
        draft.leave_out("a link of two bridges", "a network is one segment", link.line)
        return
    told = " -- ".join(names)
    if bridges:
        called = bridges[0]
    else:
        called = f"link {link.line} {len(draft.networks)}"
        network = draft.add_network(called, f"the link {told}" if len(names) > 1 else f"a stub of {told}")
        network.is_link = len(names) == 2 and kind in (None, "p2p")
        network.name = _name(draft, called, given or "-".join(names))
    network = draft.networks[called]
    _prefix(draft, network, link, prefixes)
    mtu = text_of(at(link, "mtu"))
    if mtu is not None and re.fullmatch(r"\d{3,5}", mtu) and 1280 <= int(mtu) <= 65535:
        network.mtu = int(mtu)
    for name, node in ends:
        if name in draft.hosts:
            host = draft.hosts[name]
            nic = DraftNic(called, f"eth{len(host.nics) + 1}")
            _addresses(draft, host, nic, network, node)
            host.nics.append(nic)
    rest = [
        key
        for key, _, _ in members(link)
        if key not in (*_OF_LINK, "prefix.ipv4", "prefix.ipv6") and key not in (*draft.hosts, *draft.networks)
    ]
    if rest:
        draft.leave_out(f"link {told}: {', '.join(map(short, rest[:12]))}", "has no counterpart", link.line)


def _name(draft: Draft, called: str, text: str) -> str:
    taken = {each.name for key, each in draft.networks.items() if key != called}
    return unique(label(text, "link"), taken)


def _ends(draft: Draft, link: Node) -> list[tuple[str, Node | None]] | None:
    """Return the nodes of a link, each with its settings there. None, which is noted, if it has none."""
    known = {*draft.hosts, *draft.networks}
    ends: list[tuple[str, Node | None]]
    if (text := text_of(link)) is not None:
        ends = [(name, None) for name in _names(text, known)]
    elif isinstance(link.value, list):
        ends = [(name, None) for name, _ in texts_of(link)]
    elif (listed := at(link, "interfaces")) is not None and isinstance(listed.value, list):
        ends = [
            (name, None if text_of(each) else each)
            for each in listed.value
            if (name := text_of(each) or text_of(at(each, "node"))) is not None
        ]
    else:
        ends = [(key, value) for key, value, _ in members(link) if key in known]
        for name, value in ends:
            if (text := text_of(value)) is not None:
                draft.leave_out(
                    f"link end {short(name)}: {short(text)}", "not the settings of a NIC", link.line
                )
    for name in [name for name, _ in ends if name not in known]:
        draft.leave_out(f"link end {short(name)}", "there is no such node", link.line)
    ends = [(name, node) for name, node in ends if name in known]
    if not any(name in draft.hosts for name, _ in ends):
        draft.leave_out("a link", "no node of the topology is on it", link.line)
        return None
    return ends


def _names(text: str, known: set[str]) -> list[str]:
    """Split `a-b-c`; the names of nodes may have dashes of their own."""
    words, names = text.strip().split("-"), []
    while words:
        length = next((n for n in range(len(words), 0, -1) if "-".join(words[:n]) in known), 1)
        names.append("-".join(words[:length]))
        del words[:length]
    return names


def _prefix(draft: Draft, network: DraftNetwork, link: Node, named: Node | None) -> None:
    text = text_of(at(link, "prefix"))
    if text is None:
        texts = [entry for key in ("ipv4", "ipv6") for entry in texts_of(at(link, "prefix", key))]
    elif (found := at(named, text)) is not None and text_of(found) is None:
        texts = [entry for key in ("ipv4", "ipv6") for entry in texts_of(at(found, key))]
    else:
        texts = texts_of(found or at(link, "prefix"))
    for each, _ in texts:
        if each.lower() in ("true", "false"):
            continue
        try:
            network.subnets.append(ip_network(each, strict=False))
        except ValueError:
            draft.leave_out(f"prefix {short(each)}", "not a subnet", link.line)


def _addresses(
    draft: Draft, host: DraftHost, nic: DraftNic, network: DraftNetwork, node: Node | None
) -> None:
    for key, version in (("ipv4", 4), ("ipv6", 6)):
        for text, line in texts_of(at(node, key)):
            subnet = next((each for each in network.subnets if each.version == version), None)
            try:
                if re.fullmatch(r"\d{1,8}", text) and subnet is not None:
                    address = ip_interface(f"{subnet[int(text)]}/{subnet.prefixlen}")
                elif "/" in text:
                    address = ip_interface(text)
                elif subnet is not None:
                    address = ip_interface(f"{ip_address(text)}/{subnet.prefixlen}")
                else:
                    raise ValueError
            except (ValueError, IndexError):
                if text.lower() not in ("true", "false"):
                    draft.leave_out(
                        f"{host.name}: {key} {short(text)}", "not an address in a known subnet", line
                    )
                continue
            nic.addresses.append(address)
