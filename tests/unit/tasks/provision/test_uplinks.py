"""Networks whose way out is gone on the hypervisor: the device, its link, the bridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.tasks.guest.facts.links import Link
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork
from labrun.tasks.provision.uplinks import lost_uplinks

LAB = """\
name: demo
networks:
  out: {mode: nat, dev: up0, cidr: 10.1.0.0/24}
  lan: {mode: bridge, bridge: br0, cidr: 10.2.0.0/24}
  idle: {mode: route, dev: up9, cidr: 10.3.0.0/24}
  in: {cidr: 10.4.0.0/24}
hosts:
  a: {networks: {out: 10.1.0.9, lan: 10.2.0.9, in: 10.4.0.9}}
  b: {address: 192.0.2.7, networks: {idle: 10.3.0.9}}
"""
LINKS = {"up0": Link("up0", "02:01"), "br0": Link("br0", "02:02", kind="bridge")}
MAKES = " (`labrun host-bridge create br0 --dev NIC` makes one)"
GONE, DOWN = "the hypervisor has no {0}", "the {0} of the hypervisor is down (`ip link set {1} up`)"


@pytest.mark.parametrize(
    ("links", "up", "lost"),
    [
        (LINKS, {"up0", "br0"}, {}),
        ({}, set(), {"out": GONE.format("device up0"), "lan": GONE.format("bridge br0") + MAKES}),
        (LINKS, {"br0"}, {"out": DOWN.format("device up0", "up0")}),
        (LINKS, {"up0"}, {"lan": DOWN.format("bridge br0", "br0")}),
        (
            {**LINKS, "up0": replace(LINKS["up0"], is_up=False)},
            {"up0", "br0"},
            {"out": "the device up0 of the hypervisor has no carrier: nothing is at the other end"},
        ),
        # Guests are plugged into a bridge: whether anything else is cannot be told by its carrier.
        ({**LINKS, "br0": replace(LINKS["br0"], is_up=False)}, {"up0", "br0"}, {}),
    ],
)
def test_a_network_without_a_way_out_is_named(
    links: Mapping[str, Link], up: set[str], lost: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    lab = load_lab(tmp_path / "lab.yaml")
    assert dict(lost_uplinks(lab, HypervisorNetwork(links, frozenset(up), ()))) == lost
