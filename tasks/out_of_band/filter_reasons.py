"""Why a host drops what a login sends, or what it answers: nftables, iptables, ARP, a full table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labrun.tasks.collect.filter_causes import Passage, dropped, untracked
from labrun.tasks.guest.facts.nft import suspects
from labrun.tasks.guest.facts.nft_rules import Packet
from labrun.tasks.guest.reason import Reason
from labrun.tasks.out_of_band.seen import Seen, as_reasons

__all__ = ["filter_reasons"]

# What iptables-save prints of a rule for packets to the host itself.
_RULE = re.compile(r"-A INPUT (?P<match>.*?)-j (?P<target>DROP|REJECT)\b.*")


def filter_reasons(seen: Seen) -> Iterator[Reason]:
    """Yield what drops the packets of a login at the host, or the host's answers."""
    inward, outward = seen.inward, seen.outward
    if inward is None or outward is None:
        return
    port = f"port {seen.attempt.port}"
    yield from as_reasons(dropped(seen.shown, inward), f"nftables drops {port}")
    yield from as_reasons(dropped(seen.shown, outward), f"nftables drops the answers of {port}")
    yield from _arp_reasons(seen, inward)
    if not seen.attempt.refused:
        # Its packets are dropped without a word.
        yield from as_reasons(untracked(inward))
    version = inward.target.version
    chain = seen.login.iptables.get(version, "")
    for line in chain.splitlines():
        found = _RULE.fullmatch(line.strip()[:400])
        if found is not None and _may_be(found["match"], seen.attempt.port):
            # A rule before it may accept.
            yield Reason(f"iptables drops {port}: {line.strip()[:300]}", is_sure=False)
    if re.search(r"^:INPUT DROP\b", chain, re.MULTILINE):
        yield Reason("iptables drops what no rule accepts: policy DROP of INPUT", is_sure=False)


def _arp_reasons(seen: Seen, inward: Passage) -> Iterator[Reason]:
    link = seen.link
    if link is None or inward.target.version != 4:
        return
    looks = (inward.capture.evidence.before, inward.capture.evidence.after)
    question = Packet(inward.source, inward.target, came=link.name)
    answer = Packet(inward.target, inward.source, leaves=link.name)
    for packet, hooks in ((question, ("ingress", "prerouting", "input")), (answer, ("output",))):
        for found in suspects(*looks, packet, hooks, ("arp",)):
            yield Reason(f"nftables drops ARP: {found.text}", found.sure)


def _may_be(match: str, port: int) -> bool:
    """Tell whether a rule of iptables may match a new connection to the port."""
    if re.search(r"-p (?:udp|icmp\S*)\b", match) or ("--state" in match and "NEW" not in match):
        return False
    ports = re.search(r"--dports? ([\d:,]+)", match)
    return ports is None or any(_within(port, each) for each in ports[1].split(","))


def _within(port: int, text: str) -> bool:
    low, _, high = text.partition(":")
    return low.isdigit() and int(low) <= port <= int(high if high.isdigit() else low)
