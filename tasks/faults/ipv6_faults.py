"""IPv6 faults, which stay invisible to IPv4-only tests."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault
from labrun.tasks.faults.routing_faults import has_neighbour

__all__ = ["IPV6"]

_ROUTE_BACK = 'route_back 6 "$goal"'

IPV6: tuple[Fault, ...] = (
    Fault(
        "forwarding-off-v6",
        "router",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        # The switch for all NICs also sets each single one.
        'for key in /proc/sys/net/ipv6/conf/*/forwarding; do echo "echo $(cat "$key") >$key"; done',
        (
            "Between the networks one IP version works and the other does not.",
            "{host} forwards the older one only.",
            "sysctl net.ipv6.conf.all.forwarding on {host}",
        ),
        "{host}: net.ipv6.conf.all.forwarding is 0",
        version=6,
    ),
    Fault(
        "route-missing-v6",
        "source",
        'ip -6 route del "$goal"',
        _ROUTE_BACK,
        (
            "One host reaches far hosts by their short addresses and not by their long ones.",
            "It is {host}. Ask it which way it would send a packet.",
            "ip -6 route get {far} on {host}",
        ),
        "{host}: no route",
        version=6,
    ),
    Fault(
        "gateway-wrong-v6",
        "source",
        'ip -6 route del "$goal"\nip -6 route add "$goal" via "$other" dev "$nic"',
        f'echo "ip -6 route del $goal via $other dev $nic 2>/dev/null || :"\n{_ROUTE_BACK}',
        (
            "A host has two gateways, one for each IP version. They should be the same machine.",
            "{host} sends its IPv6 packets to a host that does not forward them.",
            "ip -6 route show on {host}: who is the gateway, and who should be?",
        ),
        "is sent via {other}, not via {gw}",
        has_neighbour,
        version=6,
    ),
    Fault(
        "route-too-narrow-v6",
        "source",
        'ip -6 route add "$far/128" via "$other" dev "$nic"',
        'echo "ip -6 route del $far/128 via $other dev $nic 2>/dev/null || :"',
        (
            "All of a network can be reached over IPv6, but for one address.",
            "The longest prefix wins: {host} has a route that is longer than it should be.",
            "ip -6 route get {far} on {host}",
        ),
        "{host}: {far} is sent via {other}, not via {gw}",
        has_neighbour,
        version=6,
    ),
    Fault(
        "address-missing-v6",
        "router",
        'ip -6 addr del "$out_own/$out_len" dev "$out"',
        'reapplied "$out"',
        (
            "A network has lost its gateway, for one IP version.",
            "{host} has only half of its addresses there.",
            "ip -br address on {host}",
        ),
        "{host}: {out_own} is missing on {out_net}",
        version=6,
    ),
    Fault(
        "prefix-too-wide-v6",
        "source",
        # The kernel allows an IPv6 address only once per NIC, whatever its prefix length.
        'ip -6 addr del "$own/$own_len" dev "$nic"\nip -6 addr add "$own/$wide" dev "$nic" nodad',
        'echo "ip -6 addr del $own/$wide dev $nic 2>/dev/null || :"\nreapplied "$nic"',
        (
            "Over IPv6 a host looks for far things nearby.",
            "{host} thinks that {target} is its neighbour.",
            "ip -br address on {host}: count the bits",
        ),
        "{host}: {own} has the prefix /{wide}, not /{own_len}",
        lambda site: bool(site.words["wide"]),
        version=6,
    ),
    Fault(
        "forward-drops-v6",
        "router",
        'site ip6 "$(chain forward 0 accept "ip6 saddr $own ip6 daddr $far counter drop")"',
        "table_back ip6",
        (
            "One pair of hosts cannot talk over IPv6, in one direction.",
            "Forwarding is on and routes are right; {host} decides by something else.",
            "nft list ruleset on {host}: watch the counters while you ping",
        ),
        "{host}: nftables drops it: ip6 site, chain for_site: ip6 saddr {own} ip6 daddr {far} drop",
        version=6,
    ),
    Fault(
        "solicitations-drop",
        "source",
        "solicited='icmpv6 type nd-neighbor-solicit drop'\n"
        'site ip6 "$(chain input 0 accept "$solicited")" "$(chain output 0 accept "$solicited")"\n'
        'ip -6 neigh flush dev "$nic"',
        "table_back ip6",
        (
            "A host knows no neighbour over IPv6; over IPv4 it knows them all.",
            "What ARP is for IPv4 is part of ICMPv6. {host} does not ask who has {gw}.",
            "ip -6 neigh and nft list ruleset on {host}",
        ),
        "{host}: nftables drops neighbour solicitations: ip6 site, chain out_site",
        version=6,
    ),
)
