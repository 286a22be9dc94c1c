"""The hypervisor's tables as this kernel and nft take them: every kind of rule, and what comes back."""

from __future__ import annotations

import io
from itertools import product

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.nic_filters import directions
from labrun.tasks.provision import nft
from labrun.tasks.provision.filter_table import filter_table
from labrun.tasks.provision.forward_table import forward_table
from labrun.tasks.provision.spoofing_table import guarded, spoofing_table
from tests.kernel.test_put_back import pytestmark

__all__ = ["pytestmark"]

LAB = """\
name: tables
hypervisor: lxc:///system
networks:
  lan:
    mode: nat
    cidr: 10.0.1.0/24
    cidr6: "fd00:1::/64"
    forward: [{{port: 8080, to: "b:80"}}, {{port: 53, to: "r:53", proto: udp}}]
  far: {{cidr: 10.0.2.0/24}}
hosts:
  a: {{networks: {{lan: {{ipv4: dhcp, ipv6: "fd00:1::10", filter: it}}}}}}
  b: {{networks: {{lan: {{ipv4: 10.0.1.11, ipv6: "fd00:1::11", filter: it}}, far: 10.0.2.11}}}}
  c: {{networks: {{lan: {{ipv4: 10.0.1.12, spoofing: allow}}}}}}
  d: {{networks: {{lan: {{ipv4: 10.0.1.13, nmcli: {{802-3-ethernet.cloned-mac-address: stable}}}}}}}}
  r: {{role: router, networks: {{lan: 10.0.1.20, far: 10.0.2.20}}}}
filters:
  it: [{}]
"""
ENDS = ("", ", from: b", ", to: 10.0.1.0/25", ", from: lan, to: b", ', to: "fd00:1::/64"')
ACTIONS = (("deny", ""), ("deny", ", log: true"), ("reject", ", log: true"), ("allow", ""))
PORTS = ("", ", port: 80", ", port: [22, 80-90, 85]")


def lab(*rules: str) -> Lab:
    return load_lab("-", stdin=io.StringIO(LAB.format(", ".join(rules))))


def every_rule() -> list[str]:
    found = []
    protos = ("all", "tcp", "udp", "icmp", "icmpv6", "arp", "ipv4", "ipv6")
    for direction, proto, ends, port in product(("in", "out", "inout"), protos, ENDS, PORTS):
        six, four = "fd00" in ends, proto in ("icmp", "ipv4")
        fits = not (port and proto not in ("tcp", "udp")) and not (six and four)
        if fits and not (proto == "arp" and ends) and not ("10.0" in ends and proto in ("icmpv6", "ipv6")):
            for action, log in ACTIONS:
                if action != "reject" or proto != "arp":
                    found.append(f"{{{action}: {direction}, proto: {proto}{ends}{port}{log}}}")
    return found


def test_every_kind_of_rule_is_taken() -> None:
    rules = every_rule()
    assert len(rules) > 400
    alone = [[rule] for rule in rules[::40]]
    for chunk in (*alone, *(rules[at : at + 60] for at in range(0, len(rules), 60))):
        of = lab(*chunk)
        text = filter_table(of, of.filters["it"], "labrun/tables/filter/it")
        listed = nft.canonical(text, "labrun/tables/filter/it")
        for number, rule in enumerate(of.filters["it"].rules):
            for direction in directions(rule):
                assert f'comment "{number} {direction}: {rule.action} ' in listed, chunk[number]


def test_the_other_tables_are_taken_as_well() -> None:
    of = lab("{deny: in}")
    for text, name in (
        (spoofing_table(of, "labrun/tables/spoofing"), "labrun/tables/spoofing"),
        (forward_table(of, of.networks["lan"], "labrun/tables/forward/lan"), "labrun/tables/forward/lan"),
    ):
        assert nft.canonical(text, name).startswith("table ")
    # c may, d's MAC address is not known.
    assert {host.name for host, _ in guarded(of)} == {"a", "b", "r"}
    listed = nft.canonical(forward_table(of, of.networks["lan"], "x/y"), "x/y")
    # b's gateway is r, so the hypervisor hides the client; r answers through the hypervisor.
    assert "ip daddr 10.0.1.11 tcp dport 80 masquerade" in listed
    assert "ip saddr 10.0.1.0/24 ip daddr 10.0.1.20 udp dport 53 masquerade" in listed
