"""Whether a rule of nftables matches a packet, from the rule's text as nft prints it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

from labrun.bounded import integer
from labrun.inventory.model import Address

__all__ = ["ENDS", "JUMP", "QUEUE", "Packet", "Proto", "fits"]

Proto = Literal["tcp", "udp"]

_LONGEST_RULE = 64 * 1024
# A guest may print one endless line, or things nft never prints: each of these patterns is linear.
JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
ENDS = re.compile(r"\b(drop|reject|accept)\b")
# Without a program that listens there the kernel drops it, unless the rule says `bypass`.
QUEUE = re.compile(
    r"\bqueue\b(?! flags \S*bypass)(?: flags \S++)?(?: (?:to|num) [\w-]++)?|xt target \"NFQUEUE\""
)
_NOISE = re.compile(
    r"\b(?:reject with \S+ (?:type )?\S+|log(?: (?:prefix \"[^\"]*\"|level \w+))*|comment \"[^\"]*\")"
)
_ADDRESS = re.compile(r"\b(ip6?|arp) (saddr|daddr)(?: ip)? (!= )?(\{[^{}]*+\}|[\w.:/-]+)")
_DEVICE = re.compile(r"\b(iif|oif)(?:name)? (!= )?(\{[^{}]*+\}|\"[^\"]+\"|\S+)")
_PROTOCOL = re.compile(r"\b(?:ip protocol|ip6 nexthdr|meta l4proto) (!= )?(\{[^{}]*+\}|[\w-]+)")
_PORT = re.compile(r"\b(?:tcp|udp|sctp|dccp|th) (?:dport|sport|flags) (?:!= )?(?:\{[^{}]*+\}|\S+(?: / \S+)?)")
_ICMP_TYPE = re.compile(r"\bicmp(?:v6)? type (!= )?(\{[^{}]*+\}|\S+)")
_ICMP = re.compile(r"\bicmp(v6)? (?:type|code)\b")
_UDP = frozenset({"udp", "17"})
_NUMBERS = {4: frozenset({"icmp", "1"}), 6: frozenset({"ipv6-icmp", "icmpv6", "58"})}
_DPORT, _SPORT = (
    {proto: re.compile(rf"\b(?:{proto}|th) {way} (!= )?(\{{[^{{}}]*+\}}|\S+)") for proto in ("tcp", "udp")}
    for way in ("dport", "sport")
)
# What a rule says that is about packets of other protocols.
_OF_OTHERS = {
    proto: re.compile(rf"\b(?:{other}|sctp|dccp) (?:dport|sport|flags)|\bicmp(?:v6)? (?:type|code)")
    for proto, other in (("tcp", "udp"), ("udp", "tcp"))
}
_STATE = re.compile(r"\bct state (!= )?(\{[^{}]*+\}|\S+)")
_TCP = frozenset({"tcp", "6"})
_LENGTH = re.compile(r"\b(?:meta|ip|ip6) length (>=?|<=?) ([0-9]{1,9})\b")


@dataclass(frozen=True, slots=True)
class Packet:
    """What a rule can match; ``came`` and ``leaves`` are device names, empty if there is none.

    With a ``port`` it is the first packet of a connection to it by ``proto``, with ``answers`` the answer of
    that port, with ``icmp`` one of that type (``echo-request``), without any of them a probe: UDP or echo.
    ``state`` is what connection tracking has of a probe (``new``, ``established``), empty if that is unknown.
    """

    source: Address
    target: Address
    came: str = ""
    leaves: str = ""
    size: int = 60
    port: int = 0
    icmp: str = ""
    answers: int = 0
    state: str = ""
    proto: Proto = "tcp"

    @property
    def has_port(self) -> bool:
        """Tell whether it belongs to a connection, whose port and protocol are known."""
        return bool(self.port or self.answers)


def fits(text: str, packet: Packet) -> bool | None:
    """Tell whether the packet matches; None if that cannot be determined."""
    if len(text) > _LONGEST_RULE:
        return None
    rest, sure = _NOISE.sub("", text), True
    for match in _ADDRESS.finditer(rest):
        address = packet.source if match[2] == "saddr" else packet.target
        if match[1] != "arp" and (match[1] == "ip6") != (address.version == 6):
            return False
        among = _among(address, match[4])
        if among is None:
            sure = False
        elif among is bool(match[3]):
            return False
    for match in _DEVICE.finditer(rest):
        device = packet.came if match[1] == "iif" else packet.leaves
        among = f'"{device}"' in match[3] or match[3] == device
        if device and among is bool(match[2]):
            return False
    for match in _LENGTH.finditer(rest):
        above, bound = match[1].startswith(">"), int(match[2])
        if (above and packet.size < bound) or (not above and packet.size > bound):
            return False
    for match in _PROTOCOL.finditer(rest):
        named = bool(set(words := re.findall(r"\w[\w-]*", match[2])) & _protocols(packet))
        is_known = packet.has_port or bool(packet.icmp)
        # A probe is one of two: what names one of them may be about the other.
        if named is bool(match[1]) and (is_known or not named):
            return False
        sure = sure and (is_known or not named or (len(words) > 1 and not match[1]))
    matches = _fits_connection(rest, packet) if packet.has_port else _fits_probe(rest, packet)
    if matches is False:
        return False
    sure = sure and matches is not None
    if packet.icmp:
        rest = _ICMP_TYPE.sub("", rest)
    if packet.state:
        rest = _STATE.sub("", rest)
    if packet.has_port:
        rest = _STATE.sub("", (_DPORT if packet.port else _SPORT)[packet.proto].sub("", rest))
    for pattern in (_ADDRESS, _DEVICE, _LENGTH, _PROTOCOL, _PORT):
        sure = sure and not (pattern is _PORT and pattern.search(rest))
        rest = pattern.sub("", rest)
    left = JUMP.sub("", QUEUE.sub("", ENDS.sub("", rest))).strip()
    return True if sure and not left else None


def _protocols(packet: Packet) -> frozenset[str]:
    if packet.has_port:
        return _TCP if packet.proto == "tcp" else _UDP
    known = _NUMBERS[packet.source.version]
    return known if packet.icmp else known | _UDP


def _fits_probe(rest: str, packet: Packet) -> bool:
    if re.search(r"\b(?:tcp|sctp|dccp) (?:dport|sport|flags)", rest):
        return False
    if packet.state and not all(_is_in_state(match, packet.state) for match in _STATE.finditer(rest)):
        return False
    if packet.icmp:
        if re.search(r"\budp (?:dport|sport)", rest):
            return False
        for match in _ICMP_TYPE.finditer(rest):
            if (packet.icmp in re.findall(r"[\w-]+", match[2])) is bool(match[1]):
                return False
    return all((match[1] == "v6") is (packet.source.version == 6) for match in _ICMP.finditer(rest))


def _fits_connection(rest: str, packet: Packet) -> bool | None:
    """Tell whether a rule's ports, states and protocols match a new connection, or the answer to one.

    None if it has ports that cannot be read. A named set may have any.
    """
    if _OF_OTHERS[packet.proto].search(rest):
        return False
    named, port, state = (
        (_DPORT, packet.port, "new") if packet.port else (_SPORT, packet.answers, "established")
    )
    sure = True
    for match in named[packet.proto].finditer(rest):
        ranges = [word.strip().partition("-") for word in match[2].strip("{ }").split(",")]
        bounds = [(integer(low), integer(high) if dash else integer(low)) for low, dash, high in ranges]
        known = all(low is not None and high is not None for low, high in bounds)
        among = any(low <= port <= high for low, high in bounds if low is not None and high is not None)
        if not known and not among:
            sure = sure and "@" in match[2]
        elif among is bool(match[1]):
            return False
    if not all(_is_in_state(match, state) for match in _STATE.finditer(rest)):
        return False
    return True if sure else None


def _is_in_state(match: re.Match[str], state: str) -> bool:
    return (state in match[2]) is not bool(match[1])


def _among(address: Address, words: str) -> bool | None:
    """Tell whether an address is in ``10.0.0.1``, ``10.0.0.0/8``, ``a-b`` or a set of these."""
    known: bool | None = False
    for word in words.strip("{ }").split(","):
        first, dash, last = word.strip().partition("-")
        try:
            if dash:
                within = int(ip_address(first)) <= int(address) <= int(ip_address(last))
            else:
                within = address in ip_network(first, strict=False)
        except ValueError:
            known = None  # a named set, a variable
            continue
        if within:
            return True
    return known
