"""Faults of NICs, addresses, neighbours and packet sizes."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite

__all__ = ["LINKS"]


def _not_first(site: FaultSite) -> bool:
    return not site.is_first_nic


LINKS: tuple[Fault, ...] = (
    Fault(
        "nic-down",
        "router",
        'ip link set dev "$out" down',
        'echo "ip link set dev $out up"; reapplied "$out"; forwarding_back "$out"; routes_back "$out"',
        (
            "A whole network is cut off.",
            "{host} should be on it.",
            "ip -br link on {host}",
        ),
        "({out_net}) is down",
        _not_first,
    ),
    Fault(
        "address-missing",
        "router",
        'ip -4 addr del "$out_own/$out_len" dev "$out"',
        'reapplied "$out"',
        (
            "A network has lost its gateway.",
            "The gateway is there, under another name or none: see {host}.",
            "ip -br address on {host}",
        ),
        "{host}: {out_own} is missing on {out_net}",
        _not_first,
    ),
    Fault(
        "address-of-another",
        "source",
        'ip -4 addr add "$far/32" dev "$nic"',
        'echo "ip -4 addr del $far/32 dev $nic 2>/dev/null || :"',
        (
            "One host gets an answer from a host it did not ask.",
            "{host} need not go far to find {target}: why?",
            "ip -br address on {host}, and on {target}",
        ),
        "{far}",
    ),
    Fault(
        "prefix-too-wide",
        "source",
        'ip -4 addr add "$own/$wide" dev "$nic"\nip -4 addr del "$own/$own_len" dev "$nic"',
        'echo "ip -4 addr del $own/$wide dev $nic 2>/dev/null || :"\nreapplied "$nic"',
        (
            "A host looks for far things nearby.",
            "{host} thinks that {target} is its neighbour.",
            "ip -br address on {host}: count the bits",
        ),
        "{host}: {own} has the prefix /{wide}, not /{own_len}",
        lambda site: bool(site.words["wide"]),
    ),
    Fault(
        "prefix-too-narrow",
        "source",
        'ip -4 addr add "$own/$narrow" dev "$nic"\nip -4 addr del "$own/$own_len" dev "$nic"',
        'echo "ip -4 addr del $own/$narrow dev $nic 2>/dev/null || :"\nreapplied "$nic"',
        (
            "A host takes a detour to its own neighbours, or does not find them.",
            "{host} believes its network to be smaller than it is.",
            "ip -br address on {host}: count the bits",
        ),
        "another prefix: /{narrow}",
        lambda site: bool(site.words["narrow"]),
    ),
    Fault(
        "neighbour-wrong",
        "source",
        'ip neigh replace "$gw" lladdr 02:00:00:00:00:01 dev "$nic" nud permanent',
        'echo "ip neigh del $gw dev $nic 2>/dev/null || :"',
        (
            "Addresses and routes of a host are right, and its packets arrive nowhere.",
            "{host} knows its gateway by address; does it know it by sight?",
            "ip neigh on {host}",
        ),
        "{host}: takes {gw} ({router}) to be at 02:00:00:00:00:01",
    ),
    Fault(
        "arp-off",
        "router",
        'ip link set dev "$out" arp off',
        'echo "ip link set dev $out arp on"',
        (
            "On one network no host finds the gateway, and the gateway finds no host.",
            "{host} does not answer a certain question there.",
            "ip link on {host}: read the flags",
        ),
        "{host}: ARP is switched off",
        _not_first,
    ),
    Fault(
        "mtu-small",
        "router",
        'ip link set dev "$out" mtu 1300',
        'echo "ip link set dev $out mtu $(cat /sys/class/net/"$out"/mtu)"',
        (
            "Everything works, just not as well as it could.",
            "A link of {host} is narrower than the others.",
            "ip link on {host}, or tracepath {far} on {source}",
        ),
        "has the MTU 1300, not",
        _not_first,
    ),
)
