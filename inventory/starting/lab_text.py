"""Write a settled draft as a commented lab file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from labrun.inventory.starting.draft import Draft, DraftHost, DraftNetwork, DraftNic
from labrun.inventory.starting.names import lab_name, unique

__all__ = ["lab_text"]

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|\d{1,3}(\.\d{1,3}){3}(/\d{1,2})?|\d{1,9}")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_LONGEST: Final = 90
_MOST_LISTED: Final = 60


def lab_text(draft: Draft, *, name: str) -> str:
    """Return the text of lab.yaml; ``name`` is for a source that has none. Lines end with a newline."""
    taken = {network.name for network in draft.networks.values()}
    lines = [
        f"# From {_said(draft.source)}, {draft.kind}, by `labrun init`. Look through it, then: labrun up",
        *_left_out(draft),
        "",
        f"name: {lab_name(draft.name or name, taken)}",
    ]
    if draft.networks:
        lines += ["", "networks:", *(line for each in draft.networks.values() for line in _network(each))]
    names = {called: network.name for called, network in draft.networks.items()}
    lines += ["", "hosts:", *(line for host in draft.hosts.values() for line in _host(host, names))]
    return "\n".join(lines) + "\n"


def _left_out(draft: Draft) -> Iterator[str]:
    if draft.left_out:
        yield "#"
        yield "# Not taken over:"
        for entry in draft.left_out[:_MOST_LISTED]:
            yield f"#   {_said(str(entry), 200)}"
        if len(draft.left_out) > _MOST_LISTED:
            yield f"#   and {len(draft.left_out) - _MOST_LISTED} more"


def _network(network: DraftNetwork) -> Iterator[str]:
    if network.note:
        yield f"  # {_said(network.note)}"
    parts = [f"mode: {network.mode}"]
    parts += [f"{'cidr' if each.version == 4 else 'cidr6'}: {_scalar(str(each))}" for each in network.subnets]
    if network.dhcp is False and network.mode in ("nat", "route", "open", "isolated"):
        parts.append("dhcp: false")
    if network.mtu is not None:
        parts.append(f"mtu: {network.mtu}")
    parts += [f"{key}: {_scalar(value)}" for key, value in network.settings.items()]
    own = [f"ipv{version}: {_scalar(address)}" for version, address in sorted(network.hypervisor.items())]
    if list(network.hypervisor) == [4] and network.hypervisor[4] != "none":
        parts.append(f"hypervisor_address: {_scalar(network.hypervisor[4])}")
    elif own:
        parts.append(f"hypervisor_address: {{{', '.join(own)}}}")
    yield f"  {network.name}: {{{', '.join(parts)}}}"


def _host(host: DraftHost, names: dict[str, str]) -> Iterator[str]:
    if host.note:
        yield f"  # {_said(host.note)}"
    yield f"  {host.name}:"
    if host.router:
        yield "    role: router"
    if host.hostname is not None:
        yield f"    hostname: {_scalar(host.hostname)}"
    if host.memory is not None:
        yield f"    memory: {host.memory}"
    if host.vcpus is not None:
        yield f"    vcpus: {host.vcpus}"
    if host.nics:
        yield "    networks:"
        own: set[str] = set()
        for nic in host.nics:
            key = unique(
                names[nic.network], own | (set(names.values()) if names[nic.network] in own else set())
            )
            own.add(key)
            yield f"      {key}: {_nic(nic, names[nic.network], key)}{_comment(nic.called)}"
    else:
        yield "    networks: {}"
    for gateway in host.gateways[:1]:
        yield f"    gateway: {_scalar(str(gateway))}"
    if host.routes:
        yield "    routes:"
        for to, via in host.routes:
            yield f"      - {{to: {_scalar(str(to))}, via: {_scalar(str(via))}}}"
    if host.sysctl:
        yield "    sysctl:"
        yield from (f"      {_scalar(key)}: {_scalar(value)}" for key, value in host.sysctl.items())


def _nic(nic: DraftNic, network: str, key: str) -> str:
    parts = [] if key == network else [f"network: {network}"]
    families: dict[int, list[str]] = {4: [], 6: []}
    for each in nic.addresses:
        families[each.version].append(_scalar(str(each.ip)))
    if not parts and nic.mac is None and not families[6] and len(families[4]) == 1:
        return families[4][0]
    if not parts and nic.mac is None and not nic.addresses:
        return "dhcp" if nic.dhcp else "none"
    for version, words in families.items():
        if words:
            parts.append(f"ipv{version}: {words[0] if len(words) == 1 else '[' + ', '.join(words) + ']'}")
    if nic.dhcp and not families[4]:
        parts.insert(len(parts) - bool(families[6]), "ipv4: dhcp")
    if nic.mac is not None:
        parts.append(f"mac: {_scalar(nic.mac)}")
    return f"{{{', '.join(parts)}}}"


def _comment(text: str) -> str:
    return f"    # {_said(text)}" if text else ""


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text)


def _said(text: str, longest: int = _LONGEST) -> str:
    """Return a text of the source as the words of a comment: one line, printable, shortened."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[:1000]).split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def said(texts: Iterable[str]) -> list[str]:
    """Return texts of the source as they may be shown."""
    return [_said(text, 200) for text in texts]
