"""Ports of the hypervisor that lead into a network, as a table of nftables."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.model import Address, Lab, Network
from labrun.inventory.topology.hypervisor_forwards import (
    answers_by_itself,
    forward_text,
    targets_of_forward,
)

__all__ = ["Leading", "forward_table", "leading"]

Leading = tuple[str, Address, int, str]
"""Where accepted packets go: protocol, address, port, and the forward in words."""


def leading(lab: Lab, network: Network) -> list[Leading]:
    """Return where a network's forwards lead, one entry for each IP version."""
    return [
        (each.proto, to, each.to_port, forward_text(each))
        for each in network.forward
        for to in targets_of_forward(lab, network, each)
    ]


def forward_table(lab: Lab, network: Network, table: str) -> str:
    """Return the text that makes the table of a network's forwards."""
    return "\n".join(_lines(lab, network, table)) + "\n"


def _lines(lab: Lab, network: Network, table: str) -> Iterator[str]:
    translations = list(_translations(lab, network))
    yield f"table inet {table} {{"
    # Before libvirt's own chains and Docker's, which have priority -100 and 100.
    for hook in ("prerouting", "output"):
        yield f"chain {hook} {{"
        yield f"type nat hook {hook} priority -110; policy accept;"
        yield from translations
        yield "}"
    yield "chain postrouting {"
    yield "type nat hook postrouting priority 90; policy accept;"
    for proto, to, port, _ in leading(lab, network):
        family, subnet = ("ip", network.cidr) if to.version == 4 else ("ip6", network.cidr6)
        target = f"{family} daddr {to} {proto} dport {port}"
        if not answers_by_itself(lab, network, to):
            yield f"ct status dnat {target} masquerade"
        elif subnet is not None:
            # From the network back into it: answers have to come through here again.
            yield f"ct status dnat {family} saddr {subnet} {target} masquerade"
        if to.version == 4:
            yield f"ct status dnat ip saddr 127.0.0.0/8 {target} masquerade"
    yield "}"
    if network.cidr is not None:
        # The bridge accepts packets of 127.0.0.0/8 for the hypervisor's own connections; guests send none.
        yield "chain guests {"
        yield "type filter hook prerouting priority -310; policy accept;"
        yield f'iifname != "lo" ip saddr {network.cidr} ip daddr 127.0.0.0/8 drop'
        yield "}"
    yield "}"


def _translations(lab: Lab, network: Network) -> Iterator[str]:
    for forward in network.forward:
        for to in targets_of_forward(lab, network, forward):
            version, family = (4, "ip") if to.version == 4 else (6, "ip6")
            where = f"{to}:{forward.to_port}" if version == 4 else f"[{to}]:{forward.to_port}"
            what = f"fib daddr type local {forward.proto} dport {forward.port}"
            note = f'comment "{forward_text(forward)}"'
            yield f"meta nfproto ipv{version} {what} dnat {family} to {where} {note}"
