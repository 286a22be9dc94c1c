"""Networks of every kind that needs no NIC of the machine, made on the real libvirtd, and then left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.tasks.provision.network_state import network_spec, plan_network
from labrun.tasks.provision.networks import apply_network, observe_networks, remove_network

URI = "lxc:///system"
TEXT = """\
name: networks-real
networks:
  plain: {mode: isolated, cidr: 10.132.1.0/24, domain: lab.example, mtu: 1400, dns: {www: 10.132.1.9}}
  out: {mode: nat, cidr: 10.132.2.0/24, cidr6: "fd00:132:2::/64"}
  ports: {mode: nat, cidr: 10.132.3.0/24, nat_ports: [2000, 3000]}
  usual: {mode: nat, cidr: 10.132.4.0/24, nat_ports: [1024, 65535]}
  routed: {mode: route, cidr: 10.132.5.0/24, dhcp: {range: [10.132.5.50, 10.132.5.60]}}
  free: {mode: open, cidr: 10.132.6.0/24, dhcp: false, autostart: false}
  quiet: {mode: very-isolated, cidr: 10.132.7.0/24}
hosts:
  a: {networks: {plain: 10.132.1.10, out: {ipv4: 10.132.2.10, ipv6: "fd00:132:2::10"}, routed: dhcp}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def connection(lab: Lab) -> Iterator[libvirt.virConnect]:
    handle = libvirt.open(URI)
    yield handle
    for name in lab.networks:
        remove_network(handle, lab.name, lab.libvirt_name(name))
    handle.close()


def actions(connection: libvirt.virConnect, lab: Lab) -> dict[str, str]:
    seen = observe_networks(connection, lab.name)
    specs = {name: network_spec(lab, network, URI) for name, network in lab.networks.items()}
    return {name: plan_network(name, spec.settings, seen.get(name)).action for name, spec in specs.items()}


def test_what_runs_as_declared_needs_nothing(connection: libvirt.virConnect, lab: Lab) -> None:
    """A running network shows more than its definition has, such as the ports that NAT uses by default."""
    assert set(actions(connection, lab).values()) == {"create"}
    for name, network in lab.networks.items():
        spec = network_spec(lab, network, URI)
        apply_network(connection, spec, plan_network(name, spec.settings, None))
    assert {name for name, action in actions(connection, lab).items() if action != "none"} == set()
