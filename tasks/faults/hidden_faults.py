"""Faults that no list of routes, addresses or filter rules shows at once, in both IP versions."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.topology.wiring import Version
from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.faults.routing_faults import has_neighbour

__all__ = ["HIDDEN"]


def _not_first(site: FaultSite) -> bool:
    return not site.is_first_nic


def _ruled(
    name: str,
    at: str,
    version: Version,
    chain: tuple[str, str, str],
    rule: str,
    hints: tuple[str, str, str],
    shown: str,
) -> Fault:
    """Return the fault of one nftables rule in a table of its own.

    ``chain`` is the base chain's type, hook and priority; ``shown`` is how verify shows the rule.
    """
    family, suffix = ("ip", "") if version == 4 else ("ip6", "-v6")
    kind, hook, priority = chain
    table, short = f"{family} site", f"{hook[:3]}_site"
    does = "translates" if kind == "nat" else "drops"
    return Fault(
        f"{name}{suffix}",
        at,
        f"nft add table {table}\n"
        f"nft add chain {table} {short} '{{ type {kind} hook {hook} priority {priority}; }}'\n"
        f'nft add rule {table} {short} "{rule}"',
        f"table_back {family}",
        hints,
        f"{{host}}: nftables {does} it: {table}, chain {short}: {shown}",
        version=version,
    )


def _of(version: Version) -> Iterator[Fault]:
    """Yield the faults of one IP version."""
    ip, family, length = ("ip -4", "ip", 32) if version == 4 else ("ip -6", "ip6", 128)
    suffix, over = ("", "") if version == 4 else ("-v6", " over IPv6")
    icmp, prohibited = ("icmp", "host-prohibited") if version == 4 else ("icmpv6", "admin-prohibited")
    route_back = f'{ip} route show exact "$goal" | sed "s,^,{ip} route add ,; s, *$, 2>/dev/null || :,"'
    yield Fault(
        f"local-route{suffix}",
        "router",
        f'{ip} route add local "$far" dev lo table local',
        f'echo "{ip} route del local $far dev lo table local 2>/dev/null || :"',
        (
            f"Something else answers for a host{over}, or nothing does.",
            "{host} takes packets for {target} as its own, though none of its addresses says so.",
            f"{ip} route show table local on {{host}}",
        ),
        f"{{host}}: a local route to {{far}}/{length}",
        version=version,
    )
    yield Fault(
        f"address-on-loopback{suffix}",
        "router",
        f'{ip} addr add "$far/{length}" dev lo',
        f'echo "{ip} addr del $far/{length} dev lo 2>/dev/null || :"',
        (
            f"A host seems to be nearer than it is{over}.",
            "{host} answers in the place of {target}.",
            "ip -br address show lo on {host}",
        ),
        "{host}: has {far} ({target}'s) on lo",
        version=version,
    )
    yield Fault(
        f"unreachable-route{suffix}",
        "router",
        f'{ip} route add unreachable "$far/{length}"',
        f'echo "{ip} route del unreachable $far/{length} 2>/dev/null || :"',
        (
            f"A router says that a host cannot be reached{over}.",
            "{host} says so, and has not even tried.",
            f"{ip} route get {{far}} on {{host}}",
        ),
        f"{{host}}: an unreachable route to {{far}}/{length}",
        version=version,
    )
    yield Fault(
        f"wrong-nic{suffix}",
        "router",
        f'{ip} route add "$far/{length}" dev "$in"',
        f'echo "{ip} route del $far/{length} dev $in 2>/dev/null || :"',
        (
            f"A packet goes back where it came from{over}.",
            "{host} looks for {target} on the wrong side.",
            f"{ip} route get {{far}} on {{host}}",
        ),
        "{host}: {far} is sent out of {in_net}, not out of {out_net}",
        version=version,
    )
    yield Fault(
        f"equal-routes{suffix}",
        "source",
        f'{ip} route del "$goal"\n'
        f'{ip} route add "$goal" metric 100 nexthop via "$gw" dev "$nic" nexthop via "$other" dev "$nic"',
        f'echo "{ip} route del $goal 2>/dev/null || :"\n{route_back}',
        (
            f"Some hosts can be reached{over}, others not, and nobody knows which.",
            "{host} shares its packets out between two gateways, and one of them is not a router.",
            f"{ip} route show on {{host}}: count the next hops",
        ),
        "one too many: via {other}",
        has_neighbour,
        version=version,
    )
    yield Fault(
        f"rule-of-a-nic{suffix}",
        "router",
        f'{ip} rule add pref 100 iif "$in" to "$far_net" blackhole',
        f'echo "{ip} rule del pref 100 2>/dev/null || :"',
        (
            f"What a router sends itself arrives{over}, what it forwards does not.",
            "{host} treats packets from {in_net} differently from its own.",
            f"{ip} rule on {{host}}",
        ),
        "{host}: ip rule 100: from all to {far_net} iif ",
        version=version,
    )
    yield _ruled(
        "dnat",
        "router",
        version,
        ("nat", "prerouting", "-100"),
        f"{family} daddr $far dnat to $out_own",
        (
            f"A host is asked and another one answers{over}, in its name.",
            "{host} gives packets another destination.",
            "nft list ruleset on {host}: look for nat",
        ),
        f"{family} daddr {{far}} dnat to",
    )
    yield _ruled(
        "masquerade",
        "router",
        version,
        ("nat", "postrouting", "100"),
        "oifname $out masquerade",
        (
            f"Every packet arrives{over}, and nobody knows where it comes from.",
            "{host} puts its own address on what it forwards.",
            "nft list ruleset on {host}: look for nat",
        ),
        "oifname",
    )
    yield _ruled(
        "target-rejects",
        "source",
        version,
        ("filter", "input", "0"),
        f"{family} saddr $far reject with {icmp} type {prohibited}",
        (
            f"A host is reached{over}, but wants nothing to do with one of the others.",
            "{host} answers {target} with an error of its own making.",
            "nft list ruleset on {host}",
        ),
        f"{family} saddr {{far}} reject",
    )
    yield _ruled(
        "echo-dropped",
        "source",
        version,
        ("filter", "input", "0"),
        f"{icmp} type echo-request counter drop",
        (
            f"A host can be logged in to but not pinged{over}.",
            "{host} gets the pings and throws them away.",
            "nft list ruleset on {host}",
        ),
        f"{icmp} type echo-request drop",
    )


HIDDEN: tuple[Fault, ...] = (
    *_of(4),
    *_of(6),
    Fault(
        "disable-ipv6",
        "router",
        'sysctl -qw "net.ipv6.conf.$out.disable_ipv6=1"',
        'echo "sysctl -qw net.ipv6.conf.$out.disable_ipv6=0"\nreapplied "$out"\n'
        'forwarding_back "$out"; routes_back "$out"',
        (
            "A network has lost its gateway, for one IP version.",
            "On {out_net} {host} does not even have a link-local address.",
            "sysctl -a -r disable_ipv6 on {host}",
        ),
        "disable_ipv6 is 1 ({out_net})",
        _not_first,
        version=6,
    ),
    Fault(
        "nic-in-a-bridge",
        "router",
        'ip link add br-site type bridge\nip link set br-site up\nip link set "$out" master br-site',
        "[ ! -e /sys/class/net/br-site ] || exit 1\n"
        'echo "ip link set $out nomaster 2>/dev/null || :"\necho "ip link del br-site 2>/dev/null || :"',
        (
            "A NIC is up, has its address, and hears nothing.",
            "What reaches {host} on {out_net} goes to something else.",
            "ip link on {host}: whose port is it?",
        ),
        "is a port of br-site",
        _not_first,
    ),
)
