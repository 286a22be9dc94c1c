"""Network devices: which of them is the NIC, when a stacked device has its MAC."""

from __future__ import annotations

from typing import Any

import pytest

from labrun.errors import CommandError
from labrun.tasks.guest.facts.links import links, nics_by_mac, parse_links
from labrun.tasks.guest.shell import Captured, Facts

MAC, OTHER = "02:fb:e5:34:30:f5", "02:0c:40:7d:79:ff"


def device(name: str, **more: Any) -> dict[str, Any]:
    return {"ifname": name, "link_type": "ether", "flags": ["UP"], "operstate": "UP", "address": MAC, **more}


NIC = device("eth0", link_index=445, link_netnsid=0, linkinfo={"info_kind": "veth"})
PHYSICAL = device("enp1s0", parentbus="virtio", parentdev="virtio0")


@pytest.mark.parametrize("nic", [NIC, PHYSICAL])
@pytest.mark.parametrize(
    "stacked",
    [
        device("vlan7", link="eth0", linkinfo={"info_kind": "vlan", "info_data": {"id": 7}}),
        device("over", link="eth0", linkinfo={"info_kind": "macvlan", "info_data": {"mode": "passthru"}}),
        device("over", link="eth0", linkinfo={"info_kind": "macvtap"}),
        device("over", link="eth0", linkinfo={"info_kind": "ipvlan"}),
        device("safe", link="eth0", linkinfo={"info_kind": "macsec"}),
        device("br0", linkinfo={"info_kind": "bridge"}),
        device("bond0", flags=["UP", "MASTER"], linkinfo={"info_kind": "bond"}),
        device("team0", linkinfo={"info_kind": "team"}),
        device("vrf0", linkinfo={"info_kind": "vrf"}),
    ],
    ids=lambda found: found["linkinfo"].get("info_kind"),
)
def test_what_stands_on_a_nic_is_not_the_nic(nic: dict[str, Any], stacked: dict[str, Any]) -> None:
    for order in ([nic, stacked], [stacked, nic]):
        assert [link.name for link in nics_by_mac(parse_links(order)).values()] == [nic["ifname"]]


def test_a_port_is_found_by_its_own_mac_whatever_the_bond_gave_it() -> None:
    bond = device("bond0", linkinfo={"info_kind": "bond"})
    first = device("eth0", master="bond0")
    second = device("eth1", master="bond0", permaddr=OTHER.upper())
    found = nics_by_mac(parse_links([first, second, bond]))
    assert {mac: (link.name, link.port_of) for mac, link in found.items()} == {
        MAC: ("eth0", "bond0"),
        OTHER: ("eth1", "bond0"),
    }


def test_the_nic_of_a_container_may_be_a_macvlan_of_its_host_or_have_its_peer_beside_it() -> None:
    moved_in = device("eth0", link_index=3, link_netnsid=0, linkinfo={"info_kind": "macvlan"})
    paired = device("eth0", link="peer0", linkinfo={"info_kind": "veth"})
    for nic in (moved_in, paired):
        assert nics_by_mac(parse_links([nic]))[MAC].name == "eth0"


def test_addresses_of_another_scope_or_that_somebody_else_has_do_not_count() -> None:
    told: list[dict[str, Any]] = [
        {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "scope": "global"},
        {"family": "inet", "local": "10.0.0.2", "prefixlen": 24, "scope": "link"},
        {"family": "inet6", "local": "fd00::1", "prefixlen": 64, "scope": "global", "tentative": True},
        {"family": "inet6", "local": "fd00::2", "prefixlen": 64, "scope": "global", "dadfailed": True},
    ]
    (link,) = parse_links([device("eth0", addr_info=told, qdisc="fq_codel")])
    assert sorted(map(str, link.settled)) == ["10.0.0.1/24", "fd00::1/64"]
    assert [(str(address), why) for address, why in link.unusable] == [
        ("10.0.0.2/24", "scope link"),
        ("fd00::2/64", "another device has it (duplicate address detection failed)"),
    ]
    assert link.queue == "fq_codel"


def test_an_ip_that_is_busybox_s_is_named_with_its_cure() -> None:
    said = "ip: invalid option -- 'd'\nBusyBox v1.36.1 (2024-06-10) multi-call binary.\n\nUsage: ip ...\n"
    with pytest.raises(CommandError) as caught:
        links(Facts({}, {"link": Captured("", 1, said)}, frozenset()))
    assert str(caught.value) == "ip address: busybox's `ip` prints no JSON: install iproute2"
