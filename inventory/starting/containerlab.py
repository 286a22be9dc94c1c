"""Read a topology of containerlab (`*.clab.yml`)."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_interface
from typing import Final

from labrun.inventory.file.source import Source
from labrun.inventory.file.yaml_tree import Node
from labrun.inventory.starting.draft import Draft, DraftHost, DraftNic, misread, short
from labrun.inventory.starting.shell_lines import read_command
from labrun.inventory.starting.yaml_source import at, members, read_tree, text_of, texts_of

__all__ = ["read_containerlab"]

_BRIDGES: Final = ("bridge", "ovs-bridge")
_SPECIAL: Final = ("host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy")
"""Ends of links that are no machine of the lab, and kinds of links with such an end."""
_TAKEN: Final = ("kind", "type", "exec", "sysctls", "memory", "cpu", "image", "group")
_OF_LINK: Final = ("type", "endpoints", "mtu", "ipv4", "ipv6")
_DEFAULT: Final = re.compile(r"\$\{\w+:?[=-]([^${}\n]*)\}")
"""A variable of the environment with what it is where it is not set: here, none counts as set."""
_UNITS: Final = {"": 1, "k": 1 / 1024, "kb": 1 / 1024, "kib": 1 / 1024, "m": 1, "mb": 1, "mib": 1}
_LARGE_UNITS: Final = {"g": 1024, "gb": 1024, "gib": 1024}


def read_containerlab(source: Source, root: Node) -> Draft:
    """Return the draft of a topology. Raises UsageError if it has no nodes, or is not of this shape."""
    text = _DEFAULT.sub(r"\1", source.text)
    if text != source.text:
        root = read_tree(replace(source, text=text))
    draft = Draft(source.name, "a containerlab topology", text_of(at(root, "name")) or "")
    topology = at(root, "topology")
    nodes = at(topology, "nodes")
    if nodes is None or not list(members(nodes)):
        raise misread(source.name, "topology.nodes names no machine", root.line)
    for key, _, line in members(root):
        if key not in ("name", "topology", "prefix"):
            draft.leave_out(key, "concerns containerlab itself", line)
    bridges = set()
    commands: list[tuple[DraftHost, str, int]] = []
    for called, node, line in members(nodes):
        kind = _setting(topology, node, "kind")
        if kind in _BRIDGES:
            bridges.add(called)
            draft.add_network(called, f"the {kind} {called}")
            continue
        if kind in _SPECIAL:
            draft.leave_out(f"node {short(called)}", f"a node of the kind {kind} is no machine", line)
            continue
        _node(draft, topology, called, kind, node, line)
        commands += [(draft.hosts[called], text, at_line) for text, at_line in _commands(topology, node)]
    _shared(draft, topology)
    links = at(topology, "links")
    for link in links.value if links is not None and isinstance(links.value, list) else ():
        _link(draft, link, bridges)
    for host, text, line in commands:
        if not read_command(host, text):
            draft.leave_out(f"{host.name}: exec {short(text)}", "a command that labrun does not run", line)
    return draft


def _inherited(topology: Node | None, node: Node) -> list[Node]:
    """Return the places a node's settings come from, the strongest first."""
    group, kind = text_of(at(node, "group")), text_of(at(node, "kind"))
    grouped = at(topology, "groups", group) if group else None
    kind = kind or text_of(at(grouped, "kind")) or text_of(at(topology, "defaults", "kind"))
    places = [node, grouped, at(topology, "kinds", kind) if kind else None, at(topology, "defaults")]
    return [place for place in places if place is not None]


def _setting(topology: Node | None, node: Node, key: str) -> str | None:
    return next((text for place in _inherited(topology, node) if (text := text_of(at(place, key)))), None)


def _commands(topology: Node | None, node: Node) -> list[tuple[str, int]]:
    return [entry for place in reversed(_inherited(topology, node)) for entry in texts_of(at(place, "exec"))]


def _shared(draft: Draft, topology: Node | None) -> None:
    """Note what labrun does not take over of the settings that several nodes share."""
    places = [("defaults", at(topology, "defaults"))]
    for section in ("kinds", "groups"):
        places += [
            (f"{section}.{short(called)}", place) for called, place, _ in members(at(topology, section))
        ]
    for what, place in places:
        _rest(draft, what, place, _TAKEN)


def _rest(draft: Draft, what: str, place: Node | None, taken: tuple[str, ...], line: int = 0) -> None:
    rest = [(key, at_line) for key, _, at_line in members(place) if key not in taken]
    if rest:
        told = ", ".join(short(key) for key, _ in rest[:12])
        draft.leave_out(f"{what}: {told}", "has no counterpart", line or rest[0][1])


def _node(draft: Draft, topology: Node | None, called: str, kind: str | None, node: Node, line: int) -> None:
    image = _setting(topology, node, "image")
    told = [word for word in (kind and f"kind {kind}", image and f"image {image}") if word]
    host = draft.add_host(called, ", ".join([called, *told]) if told else called)
    if kind not in (None, "linux"):
        # Network operating systems route; labrun's routers do it with Linux.
        host.router = True
        if kind != "frr":
            draft.leave_out(f"{host.name}: kind {short(kind)}", "labrun makes Linux machines", line)
    for place in reversed(_inherited(topology, node)):
        for key, value, _ in members(at(place, "sysctls")):
            text = text_of(value)
            if text is not None and not read_command(host, f"sysctl {key}={text}"):
                draft.leave_out(
                    f"{host.name}: sysctls.{short(key)}", "not a setting of the network", value.line
                )
    host.memory = _mebibytes(_setting(topology, node, "memory"))
    cpu = _setting(topology, node, "cpu")
    if cpu is not None and re.fullmatch(r"\d{1,3}(\.\d+)?", cpu):
        host.vcpus = max(1, min(64, round(float(cpu))))
    _rest(draft, host.name, node, _TAKEN, line)


def _mebibytes(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d{1,7}(?:\.\d+)?)\s*([kmg]i?b?)", (text or "").strip().lower())
    if match is None:
        return None
    amount = float(match[1]) * {**_UNITS, **_LARGE_UNITS}.get(match[2], 1)
    # Less than this, and a machine with systemd does not boot.
    return max(256, min(1_048_576, round(amount)))


def _link(draft: Draft, link: Node, bridges: set[str]) -> None:
    kind = text_of(at(link, "type"))
    if kind in _SPECIAL:
        draft.leave_out(f"a link of type {kind}", "its other end is outside the lab", link.line)
        return
    ends = [end for node in _ends(link) if (end := _end(draft, node, bridges)) is not None]
    if len(ends) < 2:
        if len(_ends(link)) < 2:
            draft.leave_out("a link", "it has fewer than two ends", link.line)
        return
    joined = [name for name, _ in ends if name in bridges]
    if len(joined) > 1:
        draft.leave_out("a link of two bridges", "a network is one segment", link.line)
        return
    if joined:
        called = joined[0]
    else:
        names = [draft.hosts[name].name for name, _ in ends]
        told = " -- ".join(f"{name}:{nic.called}" for name, nic in ends)
        called = f"link {len(draft.networks)}: {told}"
        network = draft.add_network(called, f"the link {told}", is_link=True)
        network.name = _link_name(draft, names, network.name)
    _rest(draft, "a link", link, _OF_LINK, link.line)
    mtu = text_of(at(link, "mtu"))
    if mtu is not None and re.fullmatch(r"[0-9]{3,5}", mtu) and 1280 <= int(mtu) <= 65535:
        draft.networks[called].mtu = int(mtu)
    families = [texts_of(at(link, key)) for key in ("ipv4", "ipv6")]
    for number, (name, nic) in enumerate(ends):
        if name not in draft.hosts:
            continue
        nic.network = called
        for texts in families:
            if number < len(texts):
                _give(draft, draft.hosts[name], nic, *texts[number])
        draft.hosts[name].nics.append(nic)


def _link_name(draft: Draft, hosts: list[str], fallback: str) -> str:
    taken = {network.name for network in draft.networks.values()}
    name = "-".join(hosts)
    number = 1
    while len(name) > 50 or name in taken:
        number += 1
        name = f"{'-'.join(hosts)}-{number}"
        if len(name) > 50:
            return fallback
    return name


def _ends(link: Node) -> list[Node]:
    found = at(link, "endpoints")
    return found.value if found is not None and isinstance(found.value, list) else []


def _end(draft: Draft, node: Node, bridges: set[str]) -> tuple[str, DraftNic] | None:
    """Return a link's end: the node's name and its NIC. None if it is none of the lab, which is noted."""
    text = text_of(node)
    if text is not None:
        name, _, called = text.rpartition(":")
        mac = None
    else:
        name, called = text_of(at(node, "node")) or "", text_of(at(node, "interface")) or ""
        mac = text_of(at(node, "mac"))
    if name not in draft.hosts and name not in bridges:
        why = (
            "its other end is outside the lab" if name in _SPECIAL else "there is no such machine in the lab"
        )
        draft.leave_out(f"end {short(text or name)}", why, node.line)
        return None
    nic = DraftNic("", called)
    if mac is not None and re.fullmatch(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}", mac):
        nic.mac = mac.lower()
    for key in ("ipv4", "ipv6"):
        for address, line in texts_of(at(node, key)):
            if name in draft.hosts:
                _give(draft, draft.hosts[name], nic, address, line)
    return name, nic


def _give(draft: Draft, host: DraftHost, nic: DraftNic, text: str, line: int) -> None:
    if not text.strip():
        return
    try:
        address = ip_interface(text)
    except ValueError:
        draft.leave_out(f"{host.name}: {short(text)}", "not an address", line)
        return
    if "/" in text:
        nic.addresses.append(address)
    else:
        draft.leave_out(f"{host.name}: {short(text)}", "an address without a prefix length", line)
