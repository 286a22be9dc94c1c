"""What is wrong on the way, from facts that no row expects: one planted fact, one reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.routing import route_table
from labrun.inventory.topology.wiring import Version
from labrun.inventory.traffic import Firewall
from labrun.tasks.collect.blocked import cause_of_blocked, proven_drop
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.causes import (
    Shown,
    cause,
    cause_of_hole,
    cause_of_loss,
    cause_of_translation,
)
from labrun.tasks.collect.evidence import Evidence, read_evidence
from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.guest.facts.neighbours import Neighbour
from labrun.tasks.guest.facts.nft import read_ruleset
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.guest.shell import Captured, Facts
from tests.unit.small_labs import dual_stack, mac, two_networks

CONF = "/proc/sys/net/ipv4"
CONF6 = "/proc/sys/net/ipv6"


def healthy(of: Lab) -> dict[str, Capture]:
    found = {}
    for name, host in of.hosts.items():
        devices = {nic.network: f"eth{number}" for number, nic in enumerate(host.interfaces)}
        links = {
            nic.mac: Link(
                devices[nic.network],
                nic.mac,
                mtu=1500,
                held=tuple(LinkAddress(own) for own in (nic.ipv4, nic.ipv6) if own is not None),
            )
            for nic in host.interfaces
        }
        routes = [ObservedRoute(r.prefix, r.via, devices[r.network]) for r in route_table(of, name)]
        found[name] = Capture(links=links, routes=tuple(routes), facts=Facts())
    return found


Changes = Mapping[str, Callable[[Capture], Capture | Unreachable]]


def reason(changes: Changes, version: Version = 4) -> str | None:
    """Return why host01 does not reach host03, with some hosts showing something else."""
    of = dual_stack()
    captures: dict[str, Capture | Unreachable] = dict(healthy(of))
    for name, change in changes.items():
        found = captures[name]
        assert isinstance(found, Capture)
        captures[name] = change(found)
    why = cause(Shown(of, captures), paths(of, version).path("host01", "host03"))
    return None if why is None else why.why


def evidence(**changes: object) -> Callable[[Capture], Capture]:
    return lambda found: replace(found, evidence=replace(Evidence(), **changes))  # type: ignore[arg-type]


def setting(key: str, value: str) -> Callable[[Capture], Capture]:
    return evidence(settings={f"{CONF}/{key}": value})


def first_link(**changes: object) -> Callable[[Capture], Capture]:
    def change(found: Capture) -> Capture:
        one, *others = found.links.values()
        changed = replace(one, **changes)  # type: ignore[arg-type]
        return replace(found, links={link.mac: link for link in (changed, *others)})

    return change


def rules(text: str) -> Callable[[Capture], Capture]:
    lines = f"table inet x {{ # handle 1\n\tchain c {{ # handle 2\n{text}\t}}\n}}\n"
    return evidence(after=read_ruleset(lines))


def hooked(hook: str, rule: str) -> Callable[[Capture], Capture]:
    base = f"\t\ttype filter hook {hook} priority filter; policy accept;\n"
    return rules(f"{base}\t\t{rule} # handle 3\n")


def neighbour(address: str, found: str | None) -> Callable[[Capture], Capture]:
    return evidence(neighbours=(Neighbour("eth0", ip_address(address), found, found is None),))


def tracking(count: str, most: str) -> Callable[[Capture], Capture]:
    folder = "/proc/sys/net/netfilter/nf_conntrack"
    return evidence(settings={f"{folder}_count": count, f"{folder}_max": most})


STRANGER, ROUTER = "02:00:00:00:00:01", mac("host00", "network1")


def test_nothing_is_wrong_with_a_healthy_lab() -> None:
    assert reason({}) is None


@pytest.mark.parametrize(
    ("host", "change", "expected"),
    [
        (
            "host00",
            setting("conf/eth0/forwarding", "0"),
            "host00: net.ipv4.conf.eth0.forwarding is 0 (network1)",
        ),
        ("host03", setting("ip_default_ttl", "1"), "host03: net.ipv4.ip_default_ttl is 1"),
        ("host01", first_link(has_arp=False), "host01: ARP is switched off on eth0 (network1)"),
        (
            "host01",
            first_link(held=(LinkAddress(ip_interface("172.16.0.11/8")),)),
            "host01: 172.16.0.11 has the prefix /8, not /24, on network1",
        ),
        (
            "host01",
            neighbour("172.16.0.254", STRANGER),
            f"host01: takes 172.16.0.254 (host00) to be at {STRANGER}; its MAC is {ROUTER}",
        ),
        (
            "host01",
            neighbour("172.16.0.254", None),
            "host01: 172.16.0.254 (host00) does not answer ARP on network1",
        ),
        ("host01", neighbour("172.16.0.254", ROUTER), None),
        (
            "host00",
            tracking("1000", "1000"),
            "host00: the table of connections is full: 1000 of 1000 (net.netfilter.nf_conntrack_max)",
        ),
        ("host00", tracking("900", "1000"), None),
        ("host00", tracking("5", "0"), None),
        (
            "host00",
            evidence(rules=(PolicyRule(100, ip_network("172.16.0.0/24"), None, "prohibit", 4),)),
            "host00: ip rule 100: from 172.16.0.0/24 prohibit",
        ),
        ("host00", evidence(rules=(PolicyRule(100, ip_network("10.0.0.0/8"), None, "prohibit", 4),)), None),
        (
            "host00",
            hooked("forward", "ip daddr 172.17.0.11 drop"),
            "host00: nftables drops it: inet x, chain c: ip daddr 172.17.0.11 drop",
        ),
        ("host00", hooked("input", "drop"), None),
        ("host03", hooked("input", "drop"), "host03: nftables drops it: inet x, chain c: drop"),
        ("host03", hooked("output", "drop"), "host03: nftables drops it: inet x, chain c: drop"),
        ("host03", hooked("forward", "drop"), None),
        ("host00", lambda _: Unreachable("refused"), "host00 does not answer"),
        ("host02", hooked("input", "drop"), None),
    ],
)
def test_a_fact_is_the_reason(
    host: str, change: Callable[[Capture], Capture | Unreachable], expected: str | None
) -> None:
    assert reason({host: change}) == expected


def setting6(key: str, value: str) -> Callable[[Capture], Capture]:
    return evidence(settings={f"{CONF6}/{key}": value})


def local(prefix: str, device: str, protocol: str, kind: str = "local") -> Callable[[Capture], Capture]:
    own = ("172.16.0.254", "172.17.0.254", "fd00:16::fe", "fd00:17::fe")
    kept = [ObservedRoute(ip_network(each), None, "eth0", "local", "kernel") for each in own]
    return evidence(local=(*kept, ObservedRoute(ip_network(prefix), None, device, kind, protocol)))


def routed(*routes: ObservedRoute) -> Callable[[Capture], Capture]:
    return lambda found: replace(found, routes=(*found.routes, *routes))


def without_ipv6(found: Capture) -> Capture:
    gone = first_link(held=(LinkAddress(ip_interface("172.16.0.11/24")),))(found)
    return setting6("conf/eth0/disable_ipv6", "1")(gone)


def learned(prefix: str, via: str, at: str | None = None) -> Callable[[Capture], Capture]:
    gateway = ip_address(via)
    known = (Neighbour("eth0", gateway, at, failed=False),) if at else ()
    route = ObservedRoute(ip_network(prefix), gateway, "eth0")
    return evidence(learned=(route,), neighbours=known)


FAR4, FAR6 = ip_network("172.17.0.0/24"), ip_network("fd00:17::/64")
GATE4, GATE6 = ip_address("172.16.0.254"), ip_address("fd00:16::fe")
OTHER4, OTHER6 = ip_address("172.16.0.12"), ip_address("fd00:16::12")


@pytest.mark.parametrize(
    ("version", "host", "change", "expected"),
    [
        (4, "host00", local("172.17.0.11/32", "lo", "kernel"), "host00: has 172.17.0.11 (host03's) on lo"),
        (6, "host00", local("fd00:17::11/128", "lo", "kernel"), "host00: has fd00:17::11 (host03's) on lo"),
        (4, "host00", local("172.17.0.0/24", "lo", ""), "host00: a local route to 172.17.0.0/24"),
        (6, "host00", local("fd00:17::11/128", "lo", "boot"), "host00: a local route to fd00:17::11/128"),
        (4, "host00", local("172.17.0.12/32", "lo", ""), None),
        (
            4,
            "host00",
            local("172.17.0.11/32", "eth1", "boot", "broadcast"),
            "host00: a broadcast route to 172.17.0.11/32 in the table local",
        ),
        (
            6,
            "host00",
            local("fd00:17::11/128", "eth1", "boot", "anycast"),
            "host00: an anycast route to fd00:17::11/128 in the table local",
        ),
        (6, "host03", setting6("conf/eth0/hop_limit", "1"), "host03: net.ipv6.conf.eth0.hop_limit is 1"),
        (6, "host03", setting6("conf/eth0/hop_limit", "64"), None),
        (6, "host01", without_ipv6, "host01: net.ipv6.conf.eth0.disable_ipv6 is 1 (network1)"),
        (4, "host01", first_link(port_of="br0"), "host01: eth0 (network1) is a port of br0"),
        (
            4,
            "host01",
            routed(ObservedRoute(FAR4, GATE4, "wlan0", metric=5)),
            "host01: 172.17.0.11 is sent via 172.16.0.254 out of wlan0, not out of network1",
        ),
        (
            6,
            "host01",
            routed(ObservedRoute(FAR6, GATE6, "wlan0", metric=5)),
            "host01: fd00:17::11 is sent via fd00:16::fe out of wlan0, not out of network1",
        ),
        (
            4,
            "host01",
            routed(ObservedRoute(ip_network("0.0.0.0/0"), OTHER4, "eth0")),
            "host01: several equal routes to default: via 172.16.0.254 and via 172.16.0.12",
        ),
        (
            6,
            "host01",
            routed(ObservedRoute(ip_network("::/0"), OTHER6, "eth0")),
            "host01: several equal routes to default: via fd00:16::fe and via fd00:16::12",
        ),
        (
            4,
            "host00",
            evidence(rules=(PolicyRule(9, None, None, "lookup 9", 4, "eth0", "iif eth0"),)),
            "host00: ip rule 9: from all iif eth0 lookup 9",
        ),
        (4, "host00", evidence(rules=(PolicyRule(9, None, None, "lookup 9", 4, "eth7", "iif eth7"),)), None),
        (
            4,
            "host00",
            evidence(missing_tables=((4, "main"),)),
            "host00: no rule looks up the routes of the table main: `ip rule add pref 32766 lookup main`",
        ),
        (
            6,
            "host01",
            evidence(missing_tables=((6, "local"),)),
            "host01: no rule looks up the routes of the table local: `ip -6 rule add pref 0 lookup local`",
        ),
        (4, "host01", evidence(missing_tables=((6, "main"),)), None),
        (
            4,
            "host01",
            learned("172.17.0.11/32", "172.16.0.12"),
            "host01: an ICMP redirect makes it send 172.17.0.11 via 172.16.0.12: `ip route flush cache`",
        ),
        (4, "host01", learned("172.17.0.12/32", "172.16.0.12"), None),
        # The MTU of a path is learned, too.
        (4, "host01", learned("172.17.0.11/32", "172.16.0.254"), None),
        (
            6,
            "host01",
            learned("fd00:17::11/128", "fe80::12", mac("host02", "network1")),
            "host01: an ICMP redirect makes it send fd00:17::11 via fe80::12: `ip -6 route flush cache`",
        ),
        (6, "host01", learned("fd00:17::11/128", "fe80::fe", ROUTER), None),
        (
            4,
            "host00",
            evidence(rules=(PolicyRule(9, FAR4, None, "lookup 9", 4, negated=True),)),
            "host00: ip rule 9: not from 172.17.0.0/24 lookup 9",
        ),
    ],
)
def test_a_fact_is_the_reason_in_both_ip_versions(
    version: Version, host: str, change: Callable[[Capture], Capture], expected: str | None
) -> None:
    assert reason({host: change}, version) == expected


def test_who_has_an_address_but_no_local_route_to_it_does_not_take_its_packets() -> None:
    def lost(found: Capture) -> Capture:
        kept = ObservedRoute(ip_network("127.0.0.0/8"), None, "lo", "local", "kernel")
        return replace(found, evidence=replace(Evidence(), local=(kept,)))

    # Without its answers nothing comes back either.
    assert reason({"host03": lost}) == "host03: no local route to its own address 172.17.0.11"


@pytest.mark.parametrize("asked", ["0", "3"])
def test_who_asks_for_no_neighbour_by_a_setting(asked: str) -> None:
    entry = (Neighbour("eth0", ip_address("172.16.0.254"), None, True),)
    silent = evidence(neighbours=entry, settings={f"{CONF}/neigh/eth0/mcast_solicit": asked})
    why = "net.ipv4.neigh.eth0.mcast_solicit is 0: it asks for no neighbour"
    other = "172.16.0.254 (host00) does not answer ARP on network1"
    assert reason({"host01": silent}) == f"host01: {why if asked == '0' else other}"


@pytest.mark.parametrize("which", ["all", "eth0"])
def test_who_answers_no_arp_by_a_setting(which: str) -> None:
    silent = setting(f"conf/{which}/arp_ignore", "8")
    asking = neighbour("172.16.0.254", None)
    why = f"host00: net.ipv4.conf.{which}.arp_ignore is 8: it answers no ARP"
    assert reason({"host01": asking, "host00": silent}) == why
    for value in ("0", "1", "2"):
        answers = setting(f"conf/{which}/arp_ignore", value)
        assert reason({"host01": asking, "host00": answers}) == (
            "host01: 172.16.0.254 (host00) does not answer ARP on network1"
        )


@pytest.mark.parametrize(
    ("host", "hook", "rule"),
    [
        ("host01", "output", "arp daddr ip 172.16.0.254 drop"),
        ("host01", "input", "arp saddr ip 172.16.0.254 drop"),
        ("host00", "input", "arp saddr ip 172.16.0.11 drop"),
        ("host00", "output", "arp daddr ip 172.16.0.11 drop"),
    ],
)
def test_who_drops_arp(host: str, hook: str, rule: str) -> None:
    text = (
        f"table arp x {{ # handle 1\n\tchain c {{ # handle 2\n\t\ttype filter hook {hook} priority 0; "
        f"policy accept;\n\t\t{rule} # handle 3\n\t}}\n}}\n"
    )

    def filtered(found: Capture) -> Capture:
        return replace(found, evidence=replace(found.evidence, after=read_ruleset(text)))

    asking = neighbour("172.16.0.254", None)
    changes: Changes = {"host01": asking, host: filtered}
    if host == "host01":
        changes = {host: lambda found: filtered(asking(found))}
    address = rule.split()[3]
    assert reason(changes) == f"{host}: nftables drops ARP for {address}: arp x, chain c: {rule}"


def translating(hook: str, rule: str, table: str = "ip site") -> Callable[[Capture], Capture]:
    base = f"\t\ttype nat hook {hook} priority dstnat; policy accept;\n"
    text = f"table {table} {{ # handle 1\n\tchain c {{ # handle 2\n{base}\t\t{rule} # handle 3\n\t}}\n}}\n"
    return evidence(after=read_ruleset(text))


@pytest.mark.parametrize(
    ("host", "hook", "rule", "named"),
    [
        ("host00", "prerouting", "ip daddr 172.17.0.11 dnat to 172.17.0.177", True),
        ("host00", "prerouting", 'iifname "eth0" ip daddr 172.17.0.11 redirect', True),
        ("host00", "prerouting", "ip daddr 172.17.0.177 dnat to 172.17.0.11", False),
        ("host00", "prerouting", "ip daddr 172.17.0.11 tcp dport 80 dnat to 172.17.0.177:8080", False),
        ("host00", "postrouting", 'oifname "eth1" masquerade', True),
        ("host00", "postrouting", 'oifname "eth1" counter packets 3 bytes 252 masquerade', True),
        ("host00", "postrouting", 'oifname "eth1" counter packets 0 bytes 0 masquerade', False),
        ("host00", "postrouting", 'oifname "eth7" masquerade', False),
        ("host00", "postrouting", 'ip saddr 172.18.0.0/16 oifname != "docker0" masquerade', False),
        ("host00", "postrouting", "meta mark & 0x00004000 == 0x00004000 masquerade", False),
        ("host00", "postrouting", "icmp type redirect drop", False),
        ("host00", "postrouting", "ip saddr 172.16.0.0/24 snat to 172.17.0.9", True),
        ("host01", "output", "ip daddr 172.17.0.11 dnat to 172.17.0.177", True),
        ("host03", "prerouting", "ip daddr 172.17.0.11 dnat to 172.17.0.177", True),
        ("host02", "prerouting", "ip daddr 172.17.0.11 dnat to 172.17.0.177", False),
    ],
)
def test_a_rule_of_others_that_translates_is_named_though_the_path_is_right(
    host: str, hook: str, rule: str, *, named: bool
) -> None:
    of = dual_stack()
    captures = healthy(of)
    captures[host] = translating(hook, rule)(captures[host])
    path = paths(of, 4).path("host01", "host03")
    found = cause_of_translation(Shown(of, captures), path)
    if not named:
        assert found is None
        return
    assert found is not None
    bare = rule.replace("counter packets 3 bytes 252 ", "")
    assert (found.why, found.blamed) == (f"{host}: nftables translates it: ip site, chain c: {bare}", host)


def test_what_labrun_itself_translates_is_in_the_file() -> None:
    of = dual_stack()
    captures = healthy(of)
    rule = 'oifname "eth1" masquerade'
    captures["host00"] = translating("postrouting", rule, "inet labrun")(captures["host00"])
    assert cause_of_translation(Shown(of, captures), paths(of, 4).path("host01", "host03")) is None


@pytest.mark.parametrize(
    ("version", "host", "hook", "rule", "expected"),
    [
        (4, "host00", "prerouting", "ip daddr 172.17.0.11 ip ttl set 1", "rewrites it: "),
        (6, "host00", "prerouting", "ip6 daddr fd00:17::11 ip6 hoplimit set 1", "rewrites it: "),
        (4, "host00", "forward", "ip daddr 172.17.0.11 ip daddr set 172.17.0.77", "rewrites it: "),
        (6, "host00", "postrouting", "ip6 daddr fd00:17::11 ip6 saddr set fd99::9", "rewrites it: "),
        (6, "host03", "output", "ip6 daddr fd00:16::11 ip6 daddr set fd99::9", "rewrites it: "),
        (4, "host00", "forward", "ether daddr set 02:00:00:00:00:01", "rewrites it: "),
        (4, "host00", "forward", "@nh,128,32 set 0xac110001", "rewrites it: "),
        (4, "host00", "ingress", 'fwd to "eth7"', "diverts it: "),
        (4, "host00", "forward", "ip daddr 172.17.0.11 queue to 5", "leaves it to a program: "),
        (6, "host00", "forward", "queue flags fanout to 1-3", "leaves it to a program: "),
        (
            4,
            "host00",
            "forward",
            'counter packets 2 bytes 99 xt target "NFQUEUE"',
            "leaves it to a program: ",
        ),
        (4, "host00", "forward", "queue flags bypass to 5", None),
        (4, "host00", "forward", "ip daddr 172.18.0.11 ip daddr set 172.17.0.77", None),
        (4, "host00", "forward", "ip dscp set cs1", None),
        (4, "host00", "forward", "tcp option maxseg size set 1360", None),
        (4, "host02", "forward", "ip ttl set 1", None),
    ],
)
def test_a_rule_that_writes_into_a_packet_or_gives_it_away_is_the_reason_where_it_gets_lost(
    version: Version, host: str, hook: str, rule: str, expected: str | None
) -> None:
    found = reason({host: hooked(hook, rule)}, version)
    bare = rule.replace("counter packets 2 bytes 99 ", "")
    assert found == (expected and f"{host}: nftables {expected}inet x, chain c: {bare}")


def test_a_rule_that_lengthens_the_life_of_packets_goes_behind_what_drops_them() -> None:
    far = hooked("prerouting", "ip ttl set 64")
    assert reason({"host00": far}) == "host00: nftables rewrites it: inet x, chain c: ip ttl set 64"
    dropping = hooked("input", "ip saddr 172.16.0.11 drop")
    assert reason({"host00": far, "host03": dropping}) == (
        "host03: nftables drops it: inet x, chain c: ip saddr 172.16.0.11 drop"
    )


# What labrun writes for `firewall: {input: drop}`; the checks of closed ports have counted at the last rule.
OWN_INPUT = """\
\t\ttype filter hook input priority filter; policy drop;
\t\tiifname "lo" accept # handle 3
\t\tct state established,related accept # handle 4
\t\ticmp type { echo-reply, destination-unreachable, echo-request } accept # handle 5
\t\ticmpv6 type { packet-too-big, echo-request, echo-reply } accept # handle 6
\t\ttcp dport 22 accept comment "ssh" # handle 7
\t\tcounter packets 6 bytes 99 drop comment "firewall.input is drop and no rule accepts it" # handle 8
"""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("host", ["host01", "host03"])
def test_a_firewall_that_lets_echoes_through_is_not_the_reason(host: str, version: Version) -> None:
    assert reason({host: rules(OWN_INPUT)}, version) is None
    without = "".join(
        line for line in OWN_INPUT.splitlines(keepends=True) if "icmp" not in line and "ct state" not in line
    )
    assert reason({host: rules(without)}, version) == (
        f"{host}: nftables drops it: inet x, chain c: drop comment "
        '"firewall.input is drop and no rule accepts it" (6 packets meanwhile)'
    )


def test_a_rule_for_datagrams_alone_is_not_the_reason_where_echoes_get_lost_too() -> None:
    for rule in ("udp dport 33434-33534 drop", "meta l4proto udp drop", "ip protocol udp drop"):
        assert reason({"host00": hooked("forward", rule)}) is None
    for rule in ("meta l4proto icmp drop", "ip protocol icmp drop"):
        assert reason({"host00": hooked("forward", rule)}) is not None


def test_a_rule_that_keeps_no_state_matters_to_a_firewall_of_labrun_only() -> None:
    of = two_networks()
    path = paths(of, 4).path("host01", "host03")
    captures = healthy(of)
    captures["host00"] = translating("prerouting", "ip daddr 172.17.0.11 notrack")(captures["host00"])
    assert cause(Shown(of, captures), path) is None
    router = replace(of.hosts["host00"], firewall=Firewall(forward="drop"))
    of = replace(of, hosts={**of.hosts, "host00": router})
    found = cause(Shown(of, captures), path)
    assert found is not None
    assert found.why == ("host00: nftables does not track it: ip site, chain c: ip daddr 172.17.0.11 notrack")


def test_a_rule_that_keeps_no_state_matters_where_somebody_s_rules_ask_for_it() -> None:
    head = "\t\ttype filter hook {} priority 0; policy accept;\n".format
    text = f"table inet s {{ # handle 1\n\tchain p {{ # handle 2\n{head('prerouting')}"
    text += "\t\tip daddr 172.17.0.11 notrack # handle 3\n\t}\n\tchain f { # handle 4\n"
    text += f"{head('forward')}\t\tct state untracked drop # handle 5\n\t}}\n}}\n"
    said = reason({"host00": evidence(after=read_ruleset(text))})
    assert said == "host00: nftables does not track it: inet s, chain p: ip daddr 172.17.0.11 notrack"


UNANSWERED = (Neighbour("eth0", ip_address("fd00:16::fe"), None, True),)


@pytest.mark.parametrize(
    ("host", "hook", "rule", "expected"),
    [
        ("host01", "output", "icmpv6 type nd-neighbor-solicit drop", "host01"),
        ("host01", "output", "ip6 daddr fd00:17::/64 drop", None),
        ("host01", "output", "meta l4proto ipv6-icmp drop", "host01"),
        ("host00", "input", "icmpv6 type { nd-router-solicit, nd-neighbor-solicit } drop", "host00"),
        ("host00", "input", 'iifname "eth1" icmpv6 type nd-neighbor-solicit drop', None),
        ("host00", "input", "icmpv6 type echo-request drop", None),
        ("host00", "forward", "icmpv6 type nd-neighbor-solicit drop", None),
    ],
)
def test_who_drops_the_question_for_a_neighbour(
    host: str, hook: str, rule: str, expected: str | None
) -> None:
    def unanswered(found: Capture) -> Capture:
        return replace(found, evidence=replace(found.evidence, neighbours=UNANSWERED))

    filtered = hooked(hook, rule)
    changes: Changes = {"host01": unanswered, host: filtered}
    if host == "host01":
        changes = {host: lambda found: unanswered(filtered(found))}
    why = reason(changes, 6) or ""
    if expected is None:
        assert "nftables drops neighbour solicitations" not in why
    else:
        assert why == f"{expected}: nftables drops neighbour solicitations: inet x, chain c: {rule}"


@pytest.mark.parametrize(("host", "hook"), [("host00", "output"), ("host01", "input")])
def test_who_drops_the_answer_of_a_neighbour(host: str, hook: str) -> None:
    def unanswered(found: Capture) -> Capture:
        return replace(found, evidence=replace(found.evidence, neighbours=UNANSWERED))

    rule = "icmpv6 type nd-neighbor-advert drop"
    changes: Changes = {"host01": unanswered, host: hooked(hook, rule)}
    if host == "host01":
        changes = {host: lambda found: unanswered(hooked(hook, rule)(found))}
    assert reason(changes, 6) == f"{host}: nftables drops neighbour advertisements: inet x, chain c: {rule}"


def test_a_cause_goes_before_what_follows_from_it() -> None:
    gone: Changes = {"host01": neighbour("172.16.0.254", None), "host00": first_link(is_up=False)}
    assert reason(gone) == "host00: eth0 (network1) is down"


def test_what_follows_from_a_silent_end_is_no_cause() -> None:
    silent: Changes = {"host03": lambda _: Unreachable("off"), "host01": neighbour("172.16.0.254", None)}
    assert reason(silent) is None


def test_strict_rp_filter_drops_what_would_be_answered_by_another_nic() -> None:
    def astray(found: Capture) -> Capture:
        route = ObservedRoute(ip_network("172.16.0.11/32"), None, "eth1")
        return replace(setting("conf/eth0/rp_filter", "1")(found), routes=(*found.routes, route))

    assert reason({"host00": astray}) == (
        "host00: rp_filter 1 drops what comes from 172.16.0.11 on network1: "
        "the route back leads out of network2"
    )
    assert reason({"host00": setting("conf/eth0/rp_filter", "1")}) is None


def test_an_address_that_somebody_else_has_too() -> None:
    def stolen(found: Capture) -> Capture:
        extra = (*next(iter(found.links.values())).addresses, ip_interface("172.16.0.254/32"))
        return first_link(held=tuple(map(LinkAddress, extra)))(found)

    assert reason({"host02": stolen}) == "host02 has 172.16.0.254 too, which is host00's"


def test_the_way_back_is_named_as_such() -> None:
    def no_default(found: Capture) -> Capture:
        return replace(found, routes=tuple(each for each in found.routes if each.prefix.prefixlen))

    assert reason({"host01": no_default}) == "host01: no route to 172.17.0.0/24"
    assert reason({"host03": no_default}) == "host03: no route back to 172.16.0.0/24"


UNCOUNTED = "counter packets 0 bytes 0"


@pytest.mark.parametrize(
    ("lost", "host", "change", "expected"),
    [
        (
            "echo",
            "host03",
            setting("icmp_echo_ignore_all", "1"),
            "host03: net.ipv4.icmp_echo_ignore_all is 1",
        ),
        ("echo", "host03", setting("icmp_echo_ignore_all", "0"), None),
        ("echo", "host03", hooked("input", "icmp type echo-request drop"), "icmp type echo-request drop"),
        ("echo", "host00", hooked("forward", "icmp type echo-reply drop"), "icmp type echo-reply drop"),
        # It was read before the pings came; no other rule concerns them.
        (
            "echo",
            "host03",
            hooked("input", f"icmp type echo-request {UNCOUNTED} drop"),
            "type echo-request drop",
        ),
        (
            "echo",
            "host03",
            hooked("input", f"icmp type {{ echo-request }} {UNCOUNTED} drop"),
            "echo-request } drop",
        ),
        ("echo", "host03", hooked("input", "icmp type echo-reply drop"), None),
        ("echo", "host03", hooked("input", "icmp type != echo-request drop"), None),
        ("echo", "host03", hooked("input", "udp dport 33434-33534 drop"), None),
        ("echo", "host02", hooked("input", "icmp type echo-request drop"), None),
        (
            "some",
            "host00",
            hooked("forward", "numgen random mod 2 0 drop"),
            "some packets get lost, others do",
        ),
        ("some", "host02", hooked("forward", "numgen random mod 2 0 drop"), None),
        ("large", "host00", first_link(mtu=1300), "host00: eth0 (network1) has the MTU 1300, not 1500"),
        ("large", "host00", hooked("forward", "ip length > 1300 drop"), "chain c: ip length > 1300 drop"),
        ("large", "host02", first_link(mtu=1300), "no host on the way shows why"),
    ],
)
def test_pings_that_get_lost_where_a_trace_does_not(
    lost: str, host: str, change: Callable[[Capture], Capture], expected: str | None
) -> None:
    of = two_networks()
    captures = healthy(of)
    captures[host] = change(captures[host])
    found = cause_of_loss(Shown(of, captures), paths(of, 4).path("host01", "host03"), lost, 1500)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in found.why
        # The reason names the host after other words, and the host is to blame all the same.
        assert found.blamed == (host if f"{host}: " in found.why else None)


def test_a_host_that_ignores_pings_over_ipv6_is_named_unless_the_file_says_so() -> None:
    of = dual_stack()
    captures = healthy(of)
    captures["host03"] = setting6("icmp/echo_ignore_all", "1")(captures["host03"])
    path = paths(of, 6).path("host01", "host03")
    found = cause_of_loss(Shown(of, captures), path, "echo", 1500)
    assert found is not None
    assert found.why == "host03: net.ipv6.icmp.echo_ignore_all is 1: no answer to pings"
    meant = replace(of.hosts["host03"], sysctl={"net.ipv6.icmp.echo_ignore_all": "1"})
    of = replace(of, hosts={**of.hosts, "host03": meant})
    assert cause_of_loss(Shown(of, captures), path, "echo", 1500) is None


def test_evidence_is_read_from_what_ip_prints_and_does_without() -> None:
    said = {
        "rules4": '[{"priority":0,"src":"all","table":"local"},{"priority":9,"src":"10.0.0.0","srclen":8,'
        '"dst":"10.9.0.1","action":"blackhole"},{"priority":32766,"src":"all","table":"main"}]',
        "rules6": '[{"priority":0,"src":"all","table":"local"},{"priority":9,"src":"all","iif":"eth0",'
        '"table":"main"},{"priority":32766,"src":"10.0.0.0","srclen":8,"table":"main"}]',
        "cached4": '[{"dst":"10.1.0.9","gateway":"10.0.0.3","dev":"eth0","flags":[],'
        '"cache":["redirected"],"expires":299}]',
        "neighbours": '[{"dst":"10.0.0.1","dev":"eth0","lladdr":"02:AA:00:00:00:01","state":["STALE"]},'
        '{"dst":"10.0.0.2","dev":"eth0","state":["FAILED"]}]',
        "nft-after": "sh: nft: not found",
    }
    status = {"nft-after": 127}
    commands = {name: Captured(text, status.get(name, 0)) for name, text in said.items()}
    found = read_evidence(Facts(commands=commands))
    assert str(found.rules[0]) == "ip rule 9: from 10.0.0.0/8 to 10.9.0.1/32 blackhole"
    assert found.missing_tables == ((6, "main"),)
    assert [(str(each.prefix), str(each.via)) for each in found.learned] == [("10.1.0.9/32", "10.0.0.3")]
    assert [(each.mac, each.failed) for each in found.neighbours] == [
        ("02:aa:00:00:00:01", False),
        (None, True),
    ]
    assert found.after == {}
    assert read_evidence(Facts()) == Evidence()


@pytest.mark.parametrize(
    ("version", "prefix", "via", "own", "foreign"),
    [
        (4, "0.0.0.0/0", "172.16.0.254", "172.16.0.11", "172.31.0.1"),
        (6, "::/0", "fd00:16::fe", "fd00:16::11", "fd99::1"),
    ],
)
def test_a_route_that_gives_packets_a_foreign_source_is_the_reason(
    version: Version, prefix: str, via: str, own: str, foreign: str
) -> None:
    gate = ip_address(via)

    def with_source(text: str) -> Callable[[Capture], Capture]:
        source = ip_address(text)
        through = ObservedRoute(ip_network(prefix), gate, "eth0", "unicast", "static", source=source)
        return lambda found: replace(
            found, routes=(*(each for each in found.routes if each.via != gate), through)
        )

    says = f"host01: sends from {foreign}, not from {own}: the route to default says so"
    assert reason({"host01": with_source(foreign)}, version) == says
    assert reason({"host01": with_source(own)}, version) is None


def test_a_queue_that_loses_packets_and_a_policy_that_blocks_them_go_before_what_follows_from_it() -> None:
    silent = neighbour("172.17.0.254", None)
    slow = first_link(queue="tbf")
    assert reason({"host03": silent, "host01": slow}) == (
        "host01: the queue tbf on eth0 (network1) delays or drops packets: `tc -s qdisc show dev eth0`"
    )
    assert reason({"host01": first_link(queue="fq_codel")}) is None
    for version in (4, 6):
        assert reason({"host03": evidence(blocked=13)}, version) == (
            "host03: IPsec policies have blocked 13 packets meanwhile: `ip xfrm policy`"
        )


def test_only_what_ipsec_blocks_while_verify_asks_counts() -> None:
    counted = "XfrmInError 3\nXfrmOutPolBlock         \t12\nXfrmInNoPols 1\n"
    later = Captured("XfrmInError 9\nXfrmOutPolBlock 14\nXfrmInNoPols 1\nXfrmOutPolBlock x y\n", 0)
    facts = Facts({"/proc/net/xfrm_stat": counted}, {"ipsec-after": later})
    assert read_evidence(facts).blocked == 2
    assert read_evidence(replace(facts, commands={})).blocked == 0
    assert read_evidence(replace(facts, commands={"ipsec-after": Captured(counted, 0)})).blocked == 0


def at_devices(hook: str, devices: str, rule: str) -> Callable[[Capture], Capture]:
    lines = "table netdev x { # handle 1\n\tchain c { # handle 2\n"
    lines += f"\t\ttype filter hook {hook} {devices} priority filter; policy accept;\n"
    return evidence(after=read_ruleset(f"{lines}\t\t{rule} # handle 3\n\t}}\n}}\n"))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("host", "hook", "devices", "is_met"),
    [
        ("host00", "egress", 'device "eth1"', True),
        ("host00", "egress", 'device "eth0"', True),  # the way back
        ("host00", "egress", 'device "eth7"', False),
        ("host00", "ingress", "devices = { eth7, eth1 }", True),
        ("host00", "ingress", "devices = { eth7, lo }", False),
        ("host01", "egress", "device eth0", True),
        ("host01", "egress", "device lo", False),
        ("host02", "egress", "device eth0", False),
    ],
)
def test_a_chain_at_a_device_drops_only_what_passes_there(
    host: str, hook: str, devices: str, version: Version, *, is_met: bool
) -> None:
    found = reason({host: at_devices(hook, devices, "drop")}, version)
    assert found == (f"{host}: nftables drops it: netdev x, chain c: drop" if is_met else None)


def test_rules_of_ip_rule_that_jump_or_look_up_a_part_are_read_as_they_are() -> None:
    text = (
        '[{"priority":9,"src":"all","uid_start":0,"uid_end":9,"action":"blackhole"},'
        '{"priority":10,"src":"all","goto":32767},'
        '{"priority":11,"src":"all","table":"main","suppress_prefixlength":24},'
        '{"priority":32767,"src":"all","table":"default"}]'
    )
    found = read_evidence(Facts(commands={"rules4": Captured(text, 0)}))
    assert [str(rule) for rule in found.rules] == [
        "ip rule 9: from all uidrange 0-9 blackhole",
        "ip rule 10: from all goto 32767",
        "ip rule 11: from all suppress_prefixlength 24 lookup main",
    ]
    assert found.missing_tables == ((4, "local"), (4, "main"))


@pytest.mark.parametrize(
    ("version", "address", "why"),
    [
        (4, "172.16.0.11/24", "scope link"),
        (6, "fd00:16::11/64", "another device has it (duplicate address detection failed)"),
    ],
)
def test_an_address_that_is_there_and_cannot_be_used_is_the_reason(
    version: Version, address: str, why: str
) -> None:
    useless = first_link(held=(), unusable=((ip_interface(address), why),))
    own = ip_interface(address).ip
    assert reason({"host01": useless}, version) == f"host01: {own} cannot be used on network1: {why}"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("host", "hook", "rule", "is_named"),
    [
        ("host00", "forward", "meta l4proto tcp drop", True),
        ("host00", "forward", 'iifname "eth0" meta l4proto tcp reject with tcp reset', True),
        ("host00", "forward", "meta l4proto tcp counter packets 2 bytes 99 drop", True),
        ("host00", "forward", "meta l4proto 6 drop", True),
        ("host00", "forward", "meta l4proto 17 drop", False),
        # It has dropped nothing so far.
        ("host00", "forward", "meta l4proto tcp counter packets 0 bytes 0 drop", False),
        ("host00", "forward", 'iifname "eth7" meta l4proto tcp drop', False),
        ("host00", "forward", "tcp dport 25 drop", False),
        ("host00", "forward", "tcp dport 1-1024 drop", False),
        ("host00", "forward", "tcp dport 1024-65535 drop", False),
        ("host00", "forward", "meta l4proto tcp ct state invalid drop", False),
        ("host00", "forward", "meta l4proto tcp limit rate over 1/second drop", False),
        ("host00", "input", "meta l4proto tcp drop", False),
        # What a host itself takes is its own business; only a router is asked to let others through.
        ("host03", "input", "meta l4proto tcp drop", False),
        ("host02", "forward", "meta l4proto tcp drop", False),
    ],
)
def test_a_router_that_drops_all_of_tcp_is_named_though_echoes_get_through(
    host: str, hook: str, rule: str, version: Version, *, is_named: bool
) -> None:
    of = dual_stack()
    captures = healthy(of)
    captures[host] = hooked(hook, rule)(captures[host])
    found = cause_of_blocked(Shown(of, captures), paths(of, version).path("host01", "host03"), "tcp")
    assert (found is not None) is is_named
    if found is not None:
        assert found.blamed == host
        assert found.why.startswith(f"{host}: nftables drops TCP: inet x, chain c: ")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("conditions", "action", "is_named"),
    [
        ("ipproto tcp", "prohibit", True),
        ("ipproto ipproto-6", "blackhole", True),
        ("ipproto 6", "unreachable", True),
        ("ipproto udp", "prohibit", False),
        ("ipproto tcp sport 22", "prohibit", False),
        ("ipproto tcp", "lookup 99", False),
    ],
)
def test_a_router_whose_rules_refuse_all_of_tcp_is_named(
    conditions: str, action: str, version: Version, *, is_named: bool
) -> None:
    of = dual_stack()
    captures = healthy(of)
    rule = PolicyRule(9, None, None, action, version, "", conditions)
    captures["host00"] = evidence(rules=(rule,))(captures["host00"])
    found = cause_of_blocked(Shown(of, captures), paths(of, version).path("host01", "host03"), "tcp")
    why = f"host00: TCP is refused: ip rule 9: from all {conditions} {action}"
    assert (found.why if found is not None else None) == (why if is_named else None)


@pytest.mark.parametrize(("hops", "is_named"), [(1, True), (64, False), (None, False)])
def test_a_route_whose_packets_get_too_few_hops(hops: int | None, *, is_named: bool) -> None:
    def limited(found: Capture) -> Capture:
        return replace(found, routes=tuple(replace(each, hop_limit=hops) for each in found.routes))

    why = f"host01: the route to default has hoplimit {hops}"
    assert reason({"host01": limited}) == (why if is_named else None)


def test_the_rule_that_takes_what_a_table_without_its_default_route_leaves_is_named() -> None:
    first = PolicyRule(1, None, None, "lookup main", 4, "", "suppress_prefixlen 0")
    second = PolicyRule(2, None, None, "lookup 51820", 4)
    assert reason({"host01": evidence(rules=(first, second))}) == "host01: ip rule 2: from all lookup 51820"
    assert reason({"host01": evidence(rules=(first,))}) == f"host01: {first}"


def test_what_labrun_s_own_firewall_drops_and_a_policy_are_no_fault_of_a_router() -> None:
    of = dual_stack()
    base = "\t\ttype filter hook forward priority filter; policy drop;\n"
    allowed = "\t\ticmp type echo-request accept # handle 3\n\t\ttcp dport 22 accept # handle 4\n"
    for table, text in (
        ("inet x", base + allowed),
        ("inet labrun", "\t\tmeta l4proto tcp drop # handle 3\n"),
    ):
        lines = f"table {table} {{ # handle 1\n\tchain forward {{ # handle 2\n"
        hook = "" if text.startswith(base) else base.replace("drop", "accept")
        captures = healthy(of)
        ruleset = read_ruleset(f"{lines}{hook}{text}\t}}\n}}\n")
        captures["host00"] = evidence(after=ruleset)(captures["host00"])
        path = paths(of, 4).path("host01", "host03")
        assert cause_of_blocked(Shown(of, captures), path, "tcp") is None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("host", "rule", "is_named", "drops_53"),
    [
        ("host00", "meta l4proto udp drop", True, True),
        ("host00", "meta l4proto 17 counter packets 3 bytes 99 reject", True, True),
        ("host00", "meta l4proto { tcp, udp } drop", True, True),
        ("host00", "meta l4proto != { icmp, ipv6-icmp } drop", True, True),
        ("host00", "th dport 1-65535 meta l4proto udp drop", True, True),
        ("host00", "udp dport 53 drop", False, True),
        ("host00", "udp dport 33434-33534 drop", False, False),
        ("host00", "meta l4proto tcp drop", False, False),
        ("host00", "meta l4proto != udp drop", False, False),
        ("host00", "tcp dport 53 drop", False, False),
        ("host00", "meta l4proto udp ct state established drop", False, False),
        ("host00", "meta l4proto udp limit rate over 1/second drop", False, False),
        ("host02", "meta l4proto udp drop", False, False),
    ],
)
def test_a_router_that_drops_udp_is_named_where_that_is_certain(
    host: str, rule: str, version: Version, *, is_named: bool, drops_53: bool
) -> None:
    of = dual_stack()
    captures = healthy(of)
    captures[host] = hooked("forward", rule)(captures[host])
    shown, path = Shown(of, captures), paths(of, version).path("host01", "host03")
    blocked, dropped = cause_of_blocked(shown, path, "udp"), proven_drop(shown, path, 53, "udp")
    assert (blocked is not None, dropped is not None) == (is_named, drops_53)
    for found, words in ((blocked, "drops UDP"), (dropped, "drops it")):
        if found is not None:
            assert found.blamed == host
            assert found.why.startswith(f"{host}: nftables {words}: inet x, chain c: ")


@pytest.mark.parametrize(
    ("version", "change", "why"),
    [
        (
            4,
            hooked("output", "icmp type time-exceeded drop"),
            "nftables drops it: inet x, chain c: icmp type time-",
        ),
        (
            6,
            hooked("output", "icmpv6 type time-exceeded drop"),
            "nftables drops it: inet x, chain c: icmpv6 type",
        ),
        (4, hooked("output", "icmp type echo-reply drop"), ""),
        (4, setting("icmp_ratelimit", "60000"), "net.ipv4.icmp_ratelimit is 60000"),
        (6, evidence(settings={f"{CONF6}/icmp/ratelimit": "9000"}), "net.ipv6.icmp.ratelimit is 9000"),
        (4, setting("icmp_ratelimit", "1000"), ""),
        (4, lambda found: found, ""),
    ],
)
def test_why_a_router_does_not_tell_that_a_trace_passed(
    version: Version, change: Callable[[Capture], Capture], why: str
) -> None:
    of = dual_stack()
    captures = healthy(of)
    captures["host00"] = change(captures["host00"])
    path = paths(of, version).path("host01", "host03")
    found = cause_of_hole(Shown(of, captures), path, "host00", path.hops[0])
    assert found.startswith(f"host00: {why}") if why else found == ""


def test_an_address_that_the_kernel_still_asks_about_has_no_local_route_yet() -> None:
    def asked(found: Capture) -> Capture:
        own = tuple(
            LinkAddress(each.interface, tentative=True) for each in next(iter(found.links.values())).held
        )
        kept = (ObservedRoute(ip_network("::1/128"), None, "lo", "local", "kernel"),)
        return evidence(local=kept)(first_link(held=own)(found))

    assert reason({"host03": asked}, 6) == (
        "host03: fd00:17::11 is tentative: whether another device has it is still being asked"
    )
