"""The definition of labrun's nftables table, as text: a pure function of lab and host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import summarize_address_range

from labrun.inventory.model import Address, Host, Lab, Prefix
from labrun.inventory.topology.flows import Flow, PortForward, accepted, hidden, redirections

__all__ = ["CHAINS", "SSH_PORTS", "TABLE", "definition", "replacement", "ssh_line"]

TABLE = "inet labrun"
SSH_PORTS = "labrun_ssh"
"""The variable that stands for sshd's ports in the text; only the host knows their values."""

CHAINS = {"input": "firewall", "forward": "firewall", "prerouting": "nat", "postrouting": "nat"}
"""The table's chains, each with the section of the lab file it comes from."""

_ERRORS = "destination-unreachable, {big}time-exceeded, parameter-problem"
_ALWAYS = (
    "ct state established,related accept",
    "icmp type { echo-request, echo-reply, " + _ERRORS.format(big="") + " } accept",
    "icmpv6 type { echo-request, echo-reply, " + _ERRORS.format(big="packet-too-big, ") + " } accept",
)
_NEIGHBOURS = (
    "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept"
)
_DHCPV6 = "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept"
# A lease renewal may be broadcast, which conntrack treats as new.
_DHCPV4 = "udp sport 67 udp dport 68 accept"
_FAMILY = {4: "ip", 6: "ip6"}
# Protocol numbers: small images lack /etc/protocols, and nft then knows no protocol by name.
_ICMP = {None: "{ 1, 58 }", 4: "1", 6: "58"}
_NUMBER = {"tcp": 6, "udp": 17}
_NO_COMMENT = re.compile(r"[^A-Za-z0-9 ._:/,@-]")
# nft allows 128 bytes including the NUL.
_LONGEST_COMMENT = 120


def ssh_line(ports: Iterable[int]) -> str:
    """Return the line that defines sshd's ports."""
    return f"define {SSH_PORTS} = {{ {', '.join(map(str, sorted(set(ports))))} }}\n"


def replacement(body: str) -> str:
    """Return a file that replaces the table by ``body`` in one kernel transaction.

    The first line makes the second one succeed even without a table (nft 1.0.6 lacks ``destroy``); an
    empty body removes the table.
    """
    return f"table {TABLE}\ndelete table {TABLE}\n{body}"


def definition(lab: Lab, host: Host) -> str:
    """Return the table for the host's ``firewall`` and ``nat``, empty if neither is declared."""
    if host.firewall is None and host.nat is None:
        return ""
    chains = [*_firewall(lab, host), *_nat(lab, host)]
    return f"table {TABLE} {{\n" + "\n".join(chains) + "}\n"


def _firewall(lab: Lab, host: Host) -> Iterator[str]:
    firewall = host.firewall
    if firewall is None:
        return
    own = ['iifname "lo" accept', *_ALWAYS, _NEIGHBOURS, _DHCPV6]
    if any(nic.dhcp for nic in host.interfaces):
        own.append(_DHCPV4)
    if firewall.ssh:
        own.append(f"tcp dport ${SSH_PORTS} accept{_comment('ssh')}")
    own.extend(_flow(flow) for flow in accepted(lab, host, "input"))
    yield _chain("input", "filter", "filter", firewall.input, own)
    passing = [*_ALWAYS]
    passing.extend(_forwarded(each) for each in redirections(lab, host))
    passing.extend(_flow(flow) for flow in accepted(lab, host, "forward"))
    yield _chain("forward", "filter", "filter", firewall.forward, passing)


def _nat(lab: Lab, host: Host) -> Iterator[str]:
    if host.nat is None:
        return
    sent_on = redirections(lab, host)
    if host.nat.masquerade_all:
        # Its own packets have its addresses already.
        rules = [f"fib saddr type != local masquerade{_comment('everything forwarded')}"]
    else:
        rules = [_masquerade(hidden(lab, host, version), version) for version in (4, 6)]
        rules.extend(_hairpin(each) for each in sent_on)
    yield _chain("prerouting", "nat", "dstnat", "accept", [_redirect(each) for each in sent_on])
    yield _chain("postrouting", "nat", "srcnat", "accept", [rule for rule in rules if rule])


def _chain(name: str, kind: str, priority: str, policy: str, rules: Sequence[str]) -> str:
    lines = [f"type {kind} hook {name} priority {priority}; policy {policy};", *rules]
    if policy == "drop":
        # Packets that hit the policy have no counter; verify names rules that have one.
        lines.append(f"counter drop{_comment(f'firewall.{name} is drop and no rule accepts it')}")
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _comment(text: str) -> str:
    """Return a comment that always terminates correctly, whichever characters the text has."""
    return f' comment "{_NO_COMMENT.sub("_", text)[:_LONGEST_COMMENT]}"'


def _set(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"{{ {', '.join(map(str, values))} }}"


def _addresses(prefixes: Iterable[Prefix]) -> list[str]:
    """Return prefixes as nft intervals, ascending; adjacent ones merged, as nft lists them."""
    merged: list[list[Address]] = []
    for prefix in sorted(prefixes, key=lambda each: int(each.network_address)):
        if merged and int(prefix.network_address) <= int(merged[-1][1]) + 1:
            merged[-1][1] = max(merged[-1][1], prefix.broadcast_address, key=int)
        else:
            merged.append([prefix.network_address, prefix.broadcast_address])
    return [_range(first, last) for first, last in merged]


def _range(first: Address, last: Address) -> str:
    if first == last:
        return str(first)
    whole = list(summarize_address_range(first, last))
    return str(whole[0]) if len(whole) == 1 else f"{first}-{last}"


def _flow(flow: Flow) -> str:
    words = []
    if flow.version is not None:
        for key, prefixes in (("saddr", flow.sources), ("daddr", flow.targets)):
            if prefixes:
                words.append(f"{_FAMILY[flow.version]} {key} {_set(_addresses(prefixes))}")
    if flow.proto == "icmp":
        words.append(f"meta l4proto {_ICMP[flow.version]}")
    elif flow.ports:
        words.append(f"{flow.proto} dport {_set(_intervals(flow.ports))}")
    else:
        words.append(f"meta l4proto {_NUMBER[flow.proto]}")
    return " ".join([*words, "accept"]) + _comment(flow.text)


def _intervals(ports: Iterable[tuple[int, int]]) -> list[str]:
    """Return ports as nft intervals, ascending; nft rejects overlaps within a set."""
    merged: list[list[int]] = []
    for low, high in sorted(ports):
        if merged and low <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return [str(low) if low == high else f"{low}-{high}" for low, high in merged]


def _redirect(each: PortForward) -> str:
    family = _FAMILY[each.version]
    there = (
        f"{family} daddr {each.address}"
        if each.address is not None
        else f"ether daddr {each.mac} meta nfproto ipv{each.version} fib daddr type local"
    )
    to = f"[{each.to}]" if each.version == 6 else str(each.to)
    goes = f"dnat {family} to {to}:{each.to_port}"
    return f"{there} {each.proto} dport {each.port} {goes}{_comment(each.text)}"


def _forwarded(each: PortForward) -> str:
    what = f"ct status dnat {_FAMILY[each.version]} daddr {each.to} {each.proto} dport {each.to_port}"
    return f"{what} accept{_comment(each.text)}"


def _masquerade(prefixes: Sequence[Prefix], version: int) -> str:
    if not prefixes:
        return ""
    family, these = _FAMILY[version], _set(_addresses(prefixes))
    return f"{family} saddr {these} {family} daddr != {these} masquerade"


def _hairpin(each: PortForward) -> str:
    """Masquerade traffic that returns to its network of origin, so that replies pass this router too."""
    if each.hairpin is None:
        return ""
    family = _FAMILY[each.version]
    where = f"{family} saddr {each.hairpin} {family} daddr {each.to} {each.proto} dport {each.to_port}"
    return f"ct status dnat {where} masquerade{_comment(each.text)}"
