"""NICs with names of their own: several on one network, and nothing else about a lab changes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labrun.inventory.file.lab_json import lab_from_json, lab_to_json
from labrun.inventory.file.load import json_schema
from labrun.inventory.file.template_values import lab_values
from labrun.inventory.model import Host, Lab
from labrun.inventory.topology.eui64 import interface_in
from labrun.tasks.provision.specs import machine_spec
from tests import places
from tests.unit.inventory.file.test_lab_schema import Keys
from tests.unit.twin_lab import TWINS, lab_of, twins

EXAMPLES = sorted(places.EXAMPLES.glob("*.yaml"))


def what_it_means(lab: Lab) -> Lab:
    return replace(lab, notices=(), digest="", source="")


def spelled_out(text: str) -> str:
    """Return a lab file in which each NIC says which network it is on."""
    data: dict[str, Any] = yaml.load(text, Keys)
    for host in data["hosts"].values():
        for name, nic in (host.get("networks") or {}).items():
            long = (
                nic
                if isinstance(nic, dict)
                else {}
                if nic == "none"
                else {"ipv6" if ":" in nic else "ipv4": nic}
            )
            host["networks"][name] = {"network": name, **long}
    return yaml.safe_dump(data, sort_keys=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.stem))
def test_a_nic_s_name_is_its_network_s_unless_the_file_says_otherwise(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    lab = lab_of(text)
    assert all(nic.name == nic.network for host in lab.hosts.values() for nic in host.interfaces)
    assert lab_to_json(what_it_means(lab_of(spelled_out(text)))) == lab_to_json(what_it_means(lab))


def test_the_same_name_again_is_said_to_change_nothing() -> None:
    lab = lab_of(
        "name: demo\nnetworks: {n: {cidr: 10.0.0.0/24}}\nhosts: {a: {networks: {n: {network: n}}}}\n"
    )
    (notice,) = lab.notices
    assert str(notice) == "hosts.a.networks.n.network has no effect: that is its name already"


def test_names_tell_the_nics_of_one_network_apart() -> None:
    h = twins().hosts["h"]
    assert [(nic.name, nic.network) for nic in h.interfaces] == [
        ("left", "left"),
        ("left2", "left"),
        ("left3", "left"),
    ]
    assert len({nic.mac for nic in h.interfaces}) == 3
    assert [nic.name for nic in h.nics_on("left")] == ["left", "left2", "left3"]
    assert [(host.name, nic.name) for host, nic in twins().members("left")] == [
        ("r", "left"),
        ("h", "left"),
        ("h", "left2"),
        ("h", "left3"),
        ("w", "left"),
    ]
    assert lab_from_json(lab_to_json(twins())) == twins()


def test_a_second_nic_moves_neither_the_first_nor_any_other_host() -> None:
    alone = lab_of(
        "\n".join(line for line in TWINS.split("\n") if not line.startswith(("      left2", "      left3")))
    )
    both = twins()
    for name, host in alone.hosts.items():
        now = {nic.name: nic for nic in both.hosts[name].interfaces}
        assert [now[nic.name] for nic in host.interfaces] == list(host.interfaces)


def test_two_dhcp_nics_of_a_host_have_a_reservation_each() -> None:
    lab = lab_of(
        TWINS.replace("left2: {network: left, ipv4: 10.0.0.12,", "left2: {network: left, ipv4: dhcp,")
    )
    _, second, third = lab.hosts["h"].interfaces
    span = lab.networks["left"].dhcp
    assert span is not None
    assert second.ipv4 is not None
    assert third.ipv4 is not None
    assert second.ipv4 != third.ipv4
    assert all(span.first <= each.ipv4.ip <= span.last for each in (second, third) if each.ipv4)


def test_each_makes_its_ipv6_address_of_its_own_mac() -> None:
    lab = lab_of(TWINS.replace("left3: {network: left, ipv4: dhcp}", "left3: {network: left, ipv6: auto}"))
    third = lab.hosts["h"].interfaces[2]
    subnet = lab.networks["left"].cidr6
    assert subnet is not None
    assert third.ipv6 == interface_in(subnet, third.mac)


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_nics_moves_no_address_and_decides_their_places(shuffle: random.Random) -> None:
    data: dict[str, Any] = yaml.safe_load(TWINS)
    nics = list(data["hosts"]["h"]["networks"].items())
    shuffle.shuffle(nics)
    data["hosts"]["h"]["networks"] = dict(nics)
    lab = lab_of(yaml.safe_dump(data, sort_keys=False))
    assert {nic.name: nic for nic in lab.hosts["h"].interfaces} == {
        nic.name: nic for nic in twins().hosts["h"].interfaces
    }
    spec = machine_spec(lab, lab.hosts["h"])
    assert [nic.mac for nic in spec.nics] == [macs(twins().hosts["h"])[name] for name, _ in nics]
    assert {nic.source for nic in spec.nics} == {"twins-left"}


def macs(host: Host) -> dict[str, str]:
    return {nic.name: nic.mac for nic in host.interfaces}


def test_templates_and_editors_know_it() -> None:
    values = lab_values(twins())
    h = values["hosts"]["h"]["networks"]  # type: ignore[index, call-overload]
    assert {name: (nic["network"], nic["ipv4"]) for name, nic in h.items()} == {  # type: ignore[union-attr, index, call-overload]
        "left": ("left", "10.0.0.11"),
        "left2": ("left", "10.0.0.12"),
        "left3": ("left", str(twins().hosts["h"].interfaces[2].ipv4).partition("/")[0]),
    }
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(TWINS))


GATEWAYS = """\
name: demo
networks: {n: {cidr: 10.0.0.0/24, cidr6: "fd00::/64"}}
hosts:
  a: {networks: {n: {ipv6: auto}, n2: {network: n, ipv6: auto}}, gateway: "fe80::1%n2"}
  b: {networks: {n: {ipv6: auto}, n2: {network: n, ipv6: auto}}, gateway: "fe80::1"}
"""


def test_a_link_local_next_hop_is_at_the_nic_that_it_names_else_at_the_first() -> None:
    lab = lab_of(GATEWAYS)
    assert lab.hosts["a"].gateway.nic == "n2"
    assert lab.hosts["b"].gateway.nic == "n"
