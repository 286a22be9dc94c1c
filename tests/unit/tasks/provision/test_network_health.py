"""What is wrong with a running network, from its XML and what the hypervisor's kernel shows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.provision import network_health as module
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork
from labrun.tasks.provision.network_health import network_health

XML = """\
<network><name>n</name>{forward}<bridge name='virbr7'/>{dns}
<ip address='10.1.1.1' netmask='255.255.255.0'/>{more}</network>
"""
NAT = "<forward mode='nat'/>"
JUMPS = """\
-A INPUT -j LIBVIRT_INP
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
"""
RULES = """\
-A LIBVIRT_FWI -o virbr7 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 10.1.1.0/24 -i virbr7 -j ACCEPT
-A LIBVIRT_INP -i virbr7 -p udp -m udp --dport 53 -j ACCEPT
"""
MASQUERADE = """\
-A POSTROUTING -j LIBVIRT_PRT
-A LIBVIRT_PRT -s 10.1.1.0/24 ! -d 10.1.1.0/24 -j MASQUERADE
"""
NFT = """\
table ip libvirt_network {
  chain guest_output { iif "virbr7" ip saddr 10.1.1.0/24 accept }
  chain guest_nat { ip saddr 10.1.1.0/24 ip daddr != 10.1.1.0/24 masquerade }
}
"""


def here(rules: dict[str, str], *addresses: str) -> HypervisorNetwork:
    held = tuple(LinkAddress(ip_interface(text)) for text in addresses or ("10.1.1.1/24",))
    return HypervisorNetwork({"virbr7": Link("virbr7", held=held)}, frozenset({"virbr7"}), (), rules)


def health(
    network: HypervisorNetwork | None, forward: str = NAT, *, dns: str = "<dns enable='no'/>", more: str = ""
) -> dict[str, str]:
    found = network_health("n", XML.format(forward=forward, dns=dns, more=more), network)
    return {key: text for key, text in found.items() if text != "ok"}


@pytest.mark.parametrize(
    ("rules", "forward", "fault"),
    [
        (JUMPS + RULES + MASQUERADE, NAT, ""),
        (JUMPS + RULES, "", ""),
        (JUMPS + RULES, NAT, "without the jumps to libvirt's chains in nat, the masquerading of 10.1.1.0/24"),
        (RULES + MASQUERADE, NAT, "without the jumps to libvirt's chains in filter"),
        (JUMPS + RULES.replace("virbr7", "virbr77"), "", "without the rules of virbr7"),
        ("", "<forward mode='open'/>", ""),
    ],
)
def test_rules_of_iptables(rules: str, forward: str, fault: str) -> None:
    assert health(here({"iptables-save": rules}), forward) == ({"firewall": fault} if fault else {})


def test_rules_of_ipv6_only_where_the_network_has_it() -> None:
    whole = {"iptables-save": JUMPS + RULES + MASQUERADE, "ip6tables-save": ""}
    assert health(here(whole)) == {}
    more = "<ip family='ipv6' address='fd00::1' prefix='64'/>"
    found = health(here(whole, "10.1.1.1/24", "fd00::1/64"), more=more)
    missing = "the rules of virbr7 (IPv6), the jumps to libvirt's chains in filter (IPv6)"
    assert found == {"firewall": f"without {missing}"}


def test_rules_in_tables_of_libvirts_own() -> None:
    assert health(here({"nft": NFT})) == {}
    gone = NFT.replace("virbr7", "virbr8").replace("masquerade", "accept")
    fault = "without the rules of virbr7, the masquerading of 10.1.1.0/24"
    assert health(here({"nft": gone})) == {"firewall": fault}


def test_what_cannot_be_read_is_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health(None) == {}
    assert health(here({})) == {}
    monkeypatch.setattr(module, "_has_no_rules", lambda: True)
    assert health(here({"iptables-save": ""})) == {}


def test_a_bridge_that_is_gone_down_or_without_an_address() -> None:
    assert health(HypervisorNetwork({}, frozenset(), ())) == {"device": "virbr7 is gone"}
    down = HypervisorNetwork({"virbr7": Link("virbr7")}, frozenset(), ())
    assert health(down) == {"device": "virbr7 is down"}
    assert health(here({}, "10.1.1.2/24")) == {"device": "virbr7 without 10.1.1.1/24"}


def test_a_bridge_with_another_mtu_than_the_network() -> None:
    links = here({}).links
    small = HypervisorNetwork({"virbr7": replace(links["virbr7"], mtu=1300)}, frozenset({"virbr7"}), ())
    assert health(small, more="<mtu size='1400'/>") == {"device": "virbr7 with the MTU 1300"}
    assert health(small, more="<mtu size='1300'/>") == {}
    # It follows its ports where the network has none.
    assert health(small) == {}


def test_a_machine_that_no_longer_forwards() -> None:
    off = replace(here({}), not_forwarding=frozenset({4, 6}))
    assert health(off, NAT) == {"device": "virbr7 without forwarding (net.ipv4.ip_forward 0)"}
    assert health(off, "<forward mode='open'/>") == health(off, NAT)
    assert health(replace(off, not_forwarding=frozenset({6})), NAT) == {}
    # Nothing is forwarded for an isolated one.
    assert health(off, "") == {}


def test_bridges_that_libvirt_did_not_make_are_left_out() -> None:
    assert health(HypervisorNetwork({}, frozenset(), ()), "<forward mode='bridge'/>") == {}
