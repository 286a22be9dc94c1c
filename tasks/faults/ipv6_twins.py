"""The IPv6 twins of IPv4 faults: the same mistake, made in the other IP version."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.faults.routing_faults import has_neighbour

__all__ = ["TWINS"]

_TABLE_BACK = "table_back ip6"
_REAPPLIED = 'reapplied "$nic"'


def _filtered(hook: str, rule: str, *, priority: str = "0", policy: str = "accept") -> str:
    """Return the shell text that adds a table with one rule at a hook."""
    return f'site ip6 "$(chain {hook} {priority} {policy} "{rule}")"'


def _not_first(site: FaultSite) -> bool:
    return not site.is_first_nic


TWINS: tuple[Fault, ...] = (
    Fault(
        "second-default-route-v6",
        "source",
        'ip -6 route add default via "$other" dev "$nic" metric 5',
        'echo "ip -6 route del default via $other dev $nic metric 5 2>/dev/null || :"',
        (
            "Over IPv6 a host has more than it needs.",
            "Of two routes to the same place {host} takes the cheaper one.",
            "ip -6 route show default on {host}",
        ),
        "is sent via {other}, not via {gw}",
        lambda site: has_neighbour(site) and site.words["goal"] == "default",
        version=6,
    ),
    Fault(
        "blackhole-route-v6",
        "source",
        'ip -6 route add blackhole "$far/128"',
        'echo "ip -6 route del blackhole $far/128 2>/dev/null || :"',
        (
            "One pair of hosts cannot talk over IPv6; their neighbours can.",
            "{host} throws away what it should send.",
            "ip -6 route show type blackhole on {host}",
        ),
        "{host}: a blackhole route to {far}/128",
        version=6,
    ),
    Fault(
        "prohibit-route-v6",
        "router",
        'ip -6 route add prohibit "$far/128"',
        'echo "ip -6 route del prohibit $far/128 2>/dev/null || :"',
        (
            "A host on the way says no to IPv6, in so many words.",
            "The one who says so is {host}.",
            "ip -6 route get {far} on {host}",
        ),
        "{host}: a prohibit route to {far}/128",
        version=6,
    ),
    Fault(
        "connected-route-missing-v6",
        "router",
        'ip -6 route del "$far_net" dev "$out"',
        'ip -6 route show exact "$far_net" | sed "s,^,ip -6 route add ,; s, *$, 2>/dev/null || :,"',
        (
            "A network that is right there cannot be reached over IPv6.",
            "{host} has an address on it, and no route.",
            "ip -6 route show dev ... on {host}, for each of its NICs",
        ),
        "{host}: no route to {far_net}",
        _not_first,
        version=6,
    ),
    Fault(
        "rule-prohibits-v6",
        "router",
        'ip -6 rule add pref 100 from "$own" to "$far_net" prohibit',
        'echo "ip -6 rule del pref 100 2>/dev/null || :"',
        (
            "The IPv6 routes are right, and one host is refused all the same.",
            "Before the kernel looks at routes it looks at something else; see {host}.",
            "ip -6 rule on {host}",
        ),
        "{host}: ip rule 100: from {own}/128 to {far_net} prohibit",
        version=6,
    ),
    Fault(
        "hop-limit-one-v6",
        "source",
        'sysctl -qw "net.ipv6.conf.$nic.hop_limit=1"',
        'echo "sysctl -qw net.ipv6.conf.$nic.hop_limit=$(sysctl -n "net.ipv6.conf.$nic.hop_limit")"',
        (
            "Over IPv6 a host can be talked to from its own network only.",
            "{host} gets every packet; look at how far its answers may go.",
            "sysctl -a -r 'ipv6.conf.*hop_limit' on {host}",
        ),
        "hop_limit is 1",
        version=6,
    ),
    Fault(
        "address-of-another-v6",
        "source",
        'ip -6 addr add "$far/128" dev "$nic" nodad',
        'echo "ip -6 addr del $far/128 dev $nic 2>/dev/null || :"',
        (
            "One host gets an answer over IPv6 from a host it did not ask.",
            "{host} need not go far to find {target}: why?",
            "ip -br address on {host}, and on {target}",
        ),
        "{host}: has {far} ({target}'s) on ",
        version=6,
    ),
    Fault(
        "prefix-too-narrow-v6",
        "source",
        'ip -6 addr del "$own/$own_len" dev "$nic"\nip -6 addr add "$own/$narrow" dev "$nic" nodad',
        f'echo "ip -6 addr del $own/$narrow dev $nic 2>/dev/null || :"\n{_REAPPLIED}',
        (
            "Over IPv6 a host takes a detour to its own neighbours, or does not find them.",
            "{host} believes its network to be smaller than it is.",
            "ip -br address on {host}: count the bits",
        ),
        "another prefix: /{narrow}",
        lambda site: bool(site.words["narrow"]),
        version=6,
    ),
    Fault(
        "neighbour-wrong-v6",
        "source",
        'ip -6 neigh replace "$gw" lladdr 02:00:00:00:00:01 dev "$nic" nud permanent',
        'echo "ip -6 neigh del $gw dev $nic 2>/dev/null || :"',
        (
            "IPv6 addresses and routes of a host are right, and its packets arrive nowhere.",
            "{host} knows its gateway by address; does it know it by sight?",
            "ip -6 neigh on {host}",
        ),
        "{host}: takes {gw} ({router}) to be at 02:00:00:00:00:01",
        version=6,
    ),
    Fault(
        "forward-rejects-v6",
        "router",
        _filtered("forward", "ip6 daddr $far_net counter reject with icmpv6 type admin-prohibited"),
        _TABLE_BACK,
        (
            "A host on the way refuses IPv6, and says so.",
            "traceroute shows who with !X: {host}.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: ip6 site, chain for_site: ip6 daddr {far_net} reject",
        version=6,
    ),
    Fault(
        "forward-policy-v6",
        "router",
        _filtered("forward", "tcp dport 22 accept", policy="drop"),
        _TABLE_BACK,
        (
            "Some IPv6 traffic between the networks passes, most does not.",
            "On {host} there is no rule against it. What happens where no rule matches?",
            "nft list chains on {host}: read the policies",
        ),
        "{host}: nftables drops it: ip6 site, chain for_site: policy drop",
        version=6,
    ),
    Fault(
        "prerouting-drops-v6",
        "router",
        _filtered("prerouting", "ip6 saddr $own ip6 daddr $far_net counter drop", priority="-300"),
        _TABLE_BACK,
        (
            "One host cannot leave its network over IPv6.",
            "{host} drops its packets before it even looks for a route.",
            "nft list ruleset on {host}: watch the counters",
        ),
        "{host}: nftables drops it: ip6 site, chain pre_site: ip6 saddr {own} ip6 daddr {far_net} drop",
        version=6,
    ),
    Fault(
        "input-drops-v6",
        "source",
        _filtered("input", "ip6 saddr $far counter drop"),
        _TABLE_BACK,
        (
            "Over IPv6 a host answers its neighbours, but not everybody.",
            "{host} gets the packets of {target} and says nothing.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: ip6 site, chain inp_site: ip6 saddr {far} drop",
        version=6,
    ),
    Fault(
        "output-drops-v6",
        "source",
        _filtered("output", "ip6 daddr $far_net counter drop"),
        _TABLE_BACK,
        (
            "Over IPv6 a host cannot reach a network, and cannot answer it.",
            "Its packets do not even get out of {host}.",
            "nft list ruleset on {host}",
        ),
        "{host}: nftables drops it: ip6 site, chain out_site: ip6 daddr {far_net} drop",
        version=6,
    ),
    Fault(
        "large-packets-drop-v6",
        "router",
        _filtered("forward", "ip6 length gt 1300 drop"),
        _TABLE_BACK,
        (
            "Over IPv6 pings and logins work; copying a file hangs.",
            "Size matters, and no error comes back. {host} is where they get lost.",
            "ping -6 -M do -s 1452 {far} on {source}, then nft list ruleset on {host}",
        ),
        "packets of 1500 bytes get lost, small ones do not: {host}: nftables drops it",
        version=6,
    ),
    Fault(
        "pings-ignored-v6",
        "source",
        "sysctl -qw net.ipv6.icmp.echo_ignore_all=1",
        'echo "sysctl -qw net.ipv6.icmp.echo_ignore_all=$(sysctl -n net.ipv6.icmp.echo_ignore_all)"',
        (
            "A host is there and does not answer everything over IPv6.",
            "traceroute reaches {host}, ping does not.",
            "sysctl -a -r icmp.echo on {host}",
        ),
        "{host}: net.ipv6.icmp.echo_ignore_all is 1",
        version=6,
    ),
)
