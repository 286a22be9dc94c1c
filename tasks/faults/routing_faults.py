"""Faults of routes, forwarding and policy rules."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite

__all__ = ["ROUTING", "has_neighbour"]

_ROUTE_BACK = 'route_back 4 "$goal"'


def has_neighbour(site: FaultSite) -> bool:
    """Accept sites where another host shares the source's network."""
    return bool(site.words["other"])


ROUTING: tuple[Fault, ...] = (
    Fault(
        "forwarding-off",
        "router",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl_back net.ipv4.ip_forward",
        (
            "Hosts on one network reach each other; nothing gets from one network into another.",
            "All routes are right. Look at {host}: it may know the way and still not take it.",
            "sysctl net.ipv4.ip_forward on {host}",
        ),
        "{host}: net.ipv4.ip_forward is 0",
    ),
    Fault(
        "forwarding-off-on-a-nic",
        "router",
        'sysctl -qw net.ipv4.conf."$in".forwarding=0',
        'sysctl_back net.ipv4.conf."$in".forwarding',
        (
            "Packets pass {host} in one direction and not in the other.",
            "{host} forwards, and yet not what comes in from {in_net}.",
            "sysctl -a -r 'ipv4.conf.*[.]forwarding' on {host}",
        ),
        "forwarding is 0 ({in_net})",
    ),
    Fault(
        "route-missing",
        "source",
        'ip -4 route del "$goal"',
        _ROUTE_BACK,
        (
            "One host reaches its own network and nothing else.",
            "It is {host}. Ask it which way it would send a packet.",
            "ip route get {far} on {host}",
        ),
        "{host}: no route",
    ),
    Fault(
        "gateway-wrong",
        "source",
        'ip -4 route del "$goal"\nip -4 route add "$goal" via "$other" dev "$nic"',
        f'echo "ip -4 route del $goal via $other dev $nic 2>/dev/null || :"\n{_ROUTE_BACK}',
        (
            "A host has a way out, and it is the wrong one.",
            "{host} sends its packets to a host that does not forward them.",
            "ip route show on {host}: who is the gateway, and who should be?",
        ),
        "is sent via {other}, not via {gw}",
        has_neighbour,
    ),
    Fault(
        "route-too-narrow",
        "source",
        'ip -4 route add "$far/32" via "$other" dev "$nic"',
        'echo "ip -4 route del $far/32 via $other dev $nic 2>/dev/null || :"',
        (
            "All of a network can be reached, but for one address.",
            "The longest prefix wins: {host} has a route that is longer than it should be.",
            "ip route get {far} on {host}",
        ),
        "{host}: {far} is sent via {other}, not via {gw}",
        has_neighbour,
    ),
    Fault(
        "second-default-route",
        "source",
        'ip -4 route add default via "$other" dev "$nic" metric 5',
        'echo "ip -4 route del default via $other dev $nic metric 5 2>/dev/null || :"',
        (
            "A host has more than it needs.",
            "Of two routes to the same place {host} takes the cheaper one.",
            "ip route show default on {host}",
        ),
        "is sent via {other}, not via {gw}",
        lambda site: has_neighbour(site) and site.words["goal"] == "default",
    ),
    Fault(
        "blackhole-route",
        "source",
        'ip -4 route add blackhole "$far/32"',
        'echo "ip -4 route del blackhole $far/32 2>/dev/null || :"',
        (
            "One pair of hosts cannot talk; their neighbours can.",
            "{host} throws away what it should send.",
            "ip route show type blackhole on {host}",
        ),
        "{host}: a blackhole route to {far}/32",
    ),
    Fault(
        "prohibit-route",
        "router",
        'ip -4 route add prohibit "$far/32"',
        'echo "ip -4 route del prohibit $far/32 2>/dev/null || :"',
        (
            "A host on the way says no, in so many words.",
            "The one who says so is {host}.",
            "ip route get {far} on {host}",
        ),
        "{host}: a prohibit route to {far}/32",
    ),
    Fault(
        "connected-route-missing",
        "router",
        'ip -4 route del "$far_net" dev "$out"',
        'route_back 4 "$far_net"',
        (
            "A network that is right there cannot be reached.",
            "{host} has an address on it, and no route.",
            "ip route show dev ... on {host}, for each of its NICs",
        ),
        "{host}: no route to {far_net}",
        lambda site: not site.is_first_nic,
    ),
    Fault(
        "rule-prohibits",
        "router",
        'ip -4 rule add pref 100 from "$own" to "$far_net" prohibit',
        'echo "ip -4 rule del pref 100 2>/dev/null || :"',
        (
            "The routes are right, and one host is refused all the same.",
            "Before the kernel looks at routes it looks at something else; see {host}.",
            "ip rule on {host}",
        ),
        "{host}: ip rule 100: from {own}/32 to {far_net} prohibit",
    ),
    Fault(
        "rp-filter",
        "router",
        'sysctl -qw net.ipv4.conf."$in".rp_filter=1 net.ipv4.conf.all.rp_filter=1\n'
        'ip -4 route add "$own/32" dev "$out"',
        'sysctl_back net.ipv4.conf."$in".rp_filter; sysctl_back net.ipv4.conf.all.rp_filter\n'
        'echo "ip -4 route del $own/32 dev $out 2>/dev/null || :"',
        (
            "Packets of one host get to the first router and no further.",
            "{host} does not believe where they come from.",
            "ip route get {own} and sysctl -a -r 'ipv4.conf.*rp_filter' on {host}",
        ),
        "{host}: rp_filter 1 drops what comes from {own} on {in_net}",
    ),
    Fault(
        "ttl-one",
        "source",
        "sysctl -qw net.ipv4.ip_default_ttl=1",
        "sysctl_back net.ipv4.ip_default_ttl",
        (
            "A host can be talked to from its own network only.",
            "{host} gets every packet; look at how far its answers may go.",
            "sysctl net.ipv4.ip_default_ttl on {host}",
        ),
        "{host}: net.ipv4.ip_default_ttl is 1",
    ),
)
