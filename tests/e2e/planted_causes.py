"""Causes planted by hand that cut a path: the host, what is done and undone, what a row has to say."""

from __future__ import annotations

__all__ = ["CAUSES", "Cause", "site"]

Cause = tuple[str, str, str, str]
FAR, FAR6 = "10.204.8.11", "fd00:204:8::11"


def site(family: str, hook: str, rule: str, at: str = "") -> tuple[str, str]:
    """Return the shell text that adds a table with one rule, and the one that removes it."""
    chain = f"nft add chain {family} site c '{{ type filter hook {hook} {at} priority 0; }}'"
    return (
        f"nft add table {family} site; {chain}; nft add rule {family} site c {rule}",
        f"nft delete table {family} site",
    )


def _route(words: str, told: str, host: str = "host00", *, ip: str = "ip") -> Cause:
    return host, f"{ip} route add {words}", f"{ip} route del {words}", told


def _dropped(family: str, hook: str, rule: str, at: str = "", host: str = "host00") -> Cause:
    plant, undo = site(family, hook, rule, at)
    return host, plant, undo, f"{host}: nftables drops it: {family} site, chain c: {rule}"


_CHAIN = "nft add chain inet site {} '{{ type filter hook {} priority {}; }}'".format
CAUSES: dict[str, Cause] = {
    # Rules of nftables by what no other fault of the catalogue looks at.
    "untracked": (
        "host00",
        (
            f"nft add table inet site; {_CHAIN('p', 'prerouting', -300)}; {_CHAIN('f', 'forward', 0)}\n"
            f"nft add rule inet site p ip daddr {FAR} notrack;"
            " nft add rule inet site f ct state untracked drop"
        ),
        "nft delete table inet site",
        f"host00: nftables does not track it: inet site, chain p: ip daddr {FAR} notrack",
    ),
    "ingress": _dropped("netdev", "ingress", f"ip daddr {FAR} drop", "device eth0"),
    "ingress-v6": _dropped("netdev", "ingress", f"ip6 daddr {FAR6} drop", "device eth0"),
    "quota": _dropped("ip", "forward", f"ip daddr {FAR} quota over 0 bytes drop"),
    "ttl-of-a-hop": _dropped("ip", "forward", "ip ttl 63 drop"),
    "kind-of-packet-v6": _dropped("ip6", "prerouting", f"meta pkttype host ip6 daddr {FAR6} drop"),
    "count-of-connections": _dropped("ip", "forward", f"ip daddr {FAR} ct count over 0 drop"),
    "length-v6": _dropped("ip6", "forward", f"ip6 daddr {FAR6} meta length 60-1000 drop"),
    "user": _dropped("ip", "output", f"meta skuid 0 ip daddr {FAR} drop", host="host01"),
    "diverted": (
        "host00",
        *site("netdev", "ingress", f"ip daddr {FAR} fwd to eth0", "device eth0"),
        f"host00: nftables diverts it: netdev site, chain c: ip daddr {FAR} fwd to",
    ),
    # Rules of `ip rule` by more than addresses.
    "mark": (
        "host00",
        "ip rule add pref 9 fwmark 7 prohibit\n"
        + site("ip", "prerouting", f"ip daddr {FAR} meta mark set 7")[0],
        "ip rule del pref 9; nft delete table ip site",
        "host00: ip rule 9: from all fwmark 0x7 prohibit",
    ),
    "mark-v6": (
        "host00",
        "ip -6 rule add pref 9 fwmark 7 lookup 99; ip -6 route add unreachable default table 99\n"
        + site("ip6", "prerouting", f"ip6 daddr {FAR6} meta mark set 7")[0],
        "ip -6 rule del pref 9; ip -6 route flush table 99; nft delete table ip6 site",
        "host00: ip rule 9: from all fwmark 0x7 lookup 99",
    ),
    "protocol": (
        "host00",
        f"ip rule add pref 9 ipproto 1 to {FAR} prohibit",
        "ip rule del pref 9",
        f"host00: ip rule 9: from all to {FAR}/32 ipproto ",
    ),
    "protocol-v6": (
        "host00",
        f"ip -6 rule add pref 9 ipproto 6 to {FAR6} prohibit",
        "ip -6 rule del pref 9",
        f"host00: TCP is refused: ip rule 9: from all to {FAR6}/128 ipproto ",
    ),
    # Routes of other kinds.
    "next-hop-object": (
        "host00",
        f"ip nexthop add id 8 blackhole; ip route add {FAR}/32 nhid 8",
        f"ip route del {FAR}/32; ip nexthop del id 8",
        f"host00: a blackhole route to {FAR}/32",
    ),
    "next-hop-object-v6": (
        "host00",
        f"ip nexthop add id 8 via fd00:203:8::12 dev eth0; ip -6 route add {FAR6}/128 nhid 8",
        f"ip -6 route del {FAR6}/128; ip nexthop del id 8",
        f"host00: {FAR6} is sent via fd00:203:8::12, not out of network2",
    ),
    "broadcast": _route(
        f"broadcast {FAR}/32 dev eth1 table local",
        f"host00: a broadcast route to {FAR}/32 in the table local",
    ),
    "anycast-v6": _route(
        f"anycast {FAR6}/128 dev eth1 table local",
        f"host00: an anycast route to {FAR6}/128 in the table local",
        ip="ip -6",
    ),
    "throw": _route(f"throw {FAR}/32", f"host00: a throw route to {FAR}/32"),
    "throw-v6": _route(f"throw {FAR6}/128", f"host00: a throw route to {FAR6}/128", ip="ip -6"),
    "better-metric": _route(
        "10.204.8.0/24 dev eth0 metric 1", f"host00: {FAR} is sent out of network1, not out of network2"
    ),
    "better-metric-v6": _route(
        "fd00:204:8::/64 dev eth0 metric 1",
        f"host00: {FAR6} is sent out of network1, not out of network2",
        ip="ip -6",
    ),
    "two-halves": (
        "host01",
        "ip route add 0.0.0.0/1 via 10.203.8.12; ip route add 128.0.0.0/1 via 10.203.8.12",
        "ip route del 0.0.0.0/1; ip route del 128.0.0.0/1",
        f"host01: {FAR} is sent via 10.203.8.12, not via 10.203.8.254",
    ),
    "two-halves-v6": (
        "host01",
        "ip -6 route add ::/1 via fd00:203:8::12; ip -6 route add 8000::/1 via fd00:203:8::12",
        "ip -6 route del ::/1; ip -6 route del 8000::/1",
        f"host01: {FAR6} is sent via fd00:203:8::12, not via fd00:203:8::fe",
    ),
    "rest-of-a-table": (
        "host01",
        (
            "ip rule add pref 1 lookup main suppress_prefixlength 0; ip rule add pref 2 lookup 51820\n"
            "ip route add unreachable default table 51820"
        ),
        "ip rule del pref 1; ip rule del pref 2; ip route flush table 51820",
        "host01: ip rule 2: from all lookup 51820",
    ),
    "hops-of-a-route": (
        "host01",
        "ip route replace $(ip route show default) hoplimit 1",
        "ip route replace $(ip route show default | sed 's/ hoplimit .*//')",
        "host01: the route to default has hoplimit 1",
    ),
    "hops-of-a-route-v6": (
        "host01",
        "ip -6 route replace $(ip -6 route show default | sed 's/ pref .*//') hoplimit 1",
        "ip -6 route replace $(ip -6 route show default | sed 's/ hoplimit .*//; s/ pref .*//')",
        "host01: the route to default has hoplimit 1",
    ),
    # Neighbours and IPsec.
    "asks-for-nobody": (
        "host00",
        "sysctl -qw net.ipv4.neigh.eth1.mcast_solicit=0; ip neigh flush all",
        "sysctl -qw net.ipv4.neigh.eth1.mcast_solicit=3",
        "host00: net.ipv4.neigh.eth1.mcast_solicit is 0: it asks for no neighbour",
    ),
    "permanent-neighbour-v6": (
        "host00",
        f"ip -6 neigh replace {FAR6} lladdr 02:00:00:00:00:09 dev eth1 nud permanent",
        f"ip -6 neigh del {FAR6} dev eth1",
        f"host00: takes {FAR6} (host03) to be at 02:00:00:00:00:09; its MAC is ",
    ),
    "policy-of-a-router": (
        "host00",
        f"ip xfrm policy add src 0.0.0.0/0 dst {FAR}/32 dir fwd action block",
        "ip xfrm policy flush",
        "host00: IPsec policies have blocked ",
    ),
    "policy-without-a-key-v6": (
        "host00",
        f"ip xfrm policy add src ::/0 dst {FAR6}/128 dir out tmpl proto esp mode transport",
        "ip xfrm policy flush",
        "host00: IPsec policies have blocked ",
    ),
}
"""By name; every entry names its cause in full but for what another system prints."""
