"""Networks as values: golden XML, and the plan between what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.errors import ForeignObjectError
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.tasks.provision.networks import (
    apply_network,
    network_spec,
    observe_networks,
    plan_network,
    remove_network,
)
from labrun.tasks.provision.objects import Observed, Plan, Spec
from tests import places

CASES = places.RECORDED / "xml"
URI = "test:///default"

ALL_MODES = """\
name: modes
networks:
  plain: {mode: isolated, cidr: 10.1.0.0/24, domain: lab.example, mtu: 1400, dns: {www: 10.1.0.9}}
  out: {mode: nat, cidr: 10.2.0.0/24, cidr6: "fd00:2::/64", dev: eth7, nat_ports: [2000, 3000]}
  routed: {mode: route, cidr: 10.3.0.0/24, dhcp: {range: [10.3.0.50, 10.3.0.60]}}
  free: {mode: open, cidr: 10.4.0.0/24, dhcp: false, autostart: false}
  quiet: {mode: very-isolated, cidr: 10.5.0.0/24}
  aside: {cidr: 10.8.0.0/24, cidr6: "fd00:8::/64"}
  placed: {cidr: 10.9.0.0/24, cidr6: "fd00:9::/64", hypervisor_address: {ipv4: 10.9.0.254, ipv6: none}}
  bare: {cidr: 10.10.0.0/24, hypervisor_address: none}
  outside: {mode: bridge, cidr: 10.6.0.0/24, bridge: br0}
  direct: {mode: macvtap, cidr: 10.7.0.0/24, dev: eth7}
hosts:
  a: {networks: {plain: 10.1.0.10, out: {ipv4: 10.2.0.10, ipv6: "fd00:2::10"}}}
  b: {networks: {routed: 10.3.0.10, free: 10.4.0.10, quiet: 10.5.0.10, outside: 10.6.0.10, direct: 10.7.0.10}}
  c: {networks: {plain: dhcp}}
  r: {role: router, networks: {aside: {ipv4: 10.8.0.1, ipv6: "fd00:8::1"}, placed: 10.9.0.1, bare: 10.10.0.1}}
"""


MODES = ("plain", "out", "routed", "free", "quiet", "outside", "direct")


def lab_of(tmp_path: Path, text: str) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return load_lab(path)


def spec_of(lab: Lab, name: str) -> Spec:
    return network_spec(lab, lab.networks[name], URI)


@pytest.mark.parametrize("name", ["aside", "placed", "bare", *MODES])
def test_xml_is_golden(tmp_path: Path, name: str) -> None:
    lab = lab_of(tmp_path, ALL_MODES)
    xml = spec_of(lab, name).xml.replace(lab.digest, "DIGEST")
    assert xml == (CASES / f"network-{name}.xml").read_text(encoding="utf-8")


def test_an_isolated_network_does_not_forward(tmp_path: Path) -> None:
    assert "<forward" not in spec_of(lab_of(tmp_path, ALL_MODES), "plain").xml


def test_values_cannot_break_out_of_the_xml(tmp_path: Path) -> None:
    from labrun.rendering import render_xml

    evil = '"/><evil a="&'
    values = dict.fromkeys(("mac", "source", "model", "device", "filter"), evil)
    assert "<evil" not in render_xml("libvirt/nic.xml.j2", **values, mtu=None)


@pytest.fixture
def connection() -> Iterator[Any]:
    import libvirt

    handle = libvirt.open(URI)
    # The in-memory driver has one state for the whole process.
    for network in handle.listAllNetworks():
        if network.name().startswith("modes-"):
            if network.isActive():
                network.destroy()
            network.undefine()
    yield handle
    handle.close()


def planned(connection: Any, spec: Spec) -> Plan:
    return plan_network(spec, observe_networks(connection, "modes").get(spec.name))


def make(connection: Any, spec: Spec) -> None:
    apply_network(connection, spec, planned(connection, spec))


@pytest.mark.parametrize("name", ["plain", "out", "routed", "free", "quiet", "aside", "placed", "bare"])
def test_made_and_then_nothing_to_do(tmp_path: Path, connection: Any, name: str) -> None:
    spec = spec_of(lab_of(tmp_path, ALL_MODES), name)
    assert planned(connection, spec).action == "create"
    make(connection, spec)
    assert list(observe_networks(connection, "modes")) == [name]
    assert planned(connection, spec).item.differences == {}


def test_a_stopped_network_is_started_and_keeps_its_uuid(tmp_path: Path, connection: Any) -> None:
    spec = spec_of(lab_of(tmp_path, ALL_MODES), "plain")
    make(connection, spec)
    network = connection.networkLookupByName("modes-plain")
    uuid = network.UUIDString()
    network.destroy()
    plan = planned(connection, spec)
    assert (plan.action, dict(plan.item.differences)) == ("update", {"active": ("no", "yes")})
    apply_network(connection, spec, plan)
    assert connection.networkLookupByName("modes-plain").UUIDString() == uuid
    assert connection.networkLookupByName("modes-plain").isActive() == 1


def test_another_subnet_needs_the_network_started_anew(tmp_path: Path, connection: Any) -> None:
    make(connection, spec_of(lab_of(tmp_path, ALL_MODES), "routed"))
    wanted = spec_of(lab_of(tmp_path, ALL_MODES.replace("10.3.", "10.33.")), "routed")
    plan = planned(connection, wanted)
    assert plan.action == "restart"
    assert plan.item.differences["ipv4"] == ("10.3.0.1/24", "10.33.0.1/24")
    assert "- ipv4: 10.3.0.1/24\n+ ipv4: 10.33.0.1/24" in (plan.item.diff or "")
    apply_network(connection, wanted, plan)
    assert planned(connection, wanted).action == "none"


@pytest.mark.parametrize(
    ("have", "later", "action"),
    [
        ({}, {"dhcp": "10.1.0.2-10.1.0.5"}, "update"),
        ({"dhcp": "10.1.0.2-10.1.0.5"}, {}, "restart"),
        ({"dhcp": "10.1.0.2-10.1.0.5"}, {"dhcp": "10.1.0.2-10.1.0.9"}, "restart"),
        ({"dhcp": "10.1.0.2-10.1.0.5", "active": "no"}, {}, "update"),
    ],
)
def test_a_definition_alone_is_put_right_beside_the_running_network(
    have: dict[str, str], later: dict[str, str], action: str
) -> None:
    wanted = {"dhcp": "10.1.0.2-10.1.0.9", "autostart": "yes", "active": "yes"}
    spec = Spec("lab", "left", "lab-left", wanted, "")
    assert plan_network(spec, Observed("lab-left", {**wanted, **have}, later)).action == action


def test_another_labs_network_is_never_touched(tmp_path: Path, connection: Any) -> None:
    connection.networkDefineXML(
        "<network><name>modes-plain</name><ip address='10.9.9.1' prefix='24'/></network>"
    )
    spec = spec_of(lab_of(tmp_path, ALL_MODES), "plain")
    before = connection.networkLookupByName("modes-plain").XMLDesc(0)
    with pytest.raises(
        ForeignObjectError, match="the network modes-plain exists and is not this lab's"
    ) as caught:
        apply_network(connection, spec, plan_network(spec, None))
    assert caught.value.exit_code == 5
    with pytest.raises(ForeignObjectError):
        remove_network(connection, "modes", "modes-plain")
    assert connection.networkLookupByName("modes-plain").XMLDesc(0) == before


def test_removed_and_then_nothing_to_remove(tmp_path: Path, connection: Any) -> None:
    spec = spec_of(lab_of(tmp_path, ALL_MODES), "plain")
    apply_network(connection, spec, plan_network(spec, None))
    assert remove_network(connection, "modes", "modes-plain") is True
    assert observe_networks(connection, "modes") == {}
    assert remove_network(connection, "modes", "modes-plain") is False
