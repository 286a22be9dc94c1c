"""Labs whose routers have the first address of their subnets, as teaching labs do; the hypervisor moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.segment import on_hypervisor
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

TEACHING = """\
name: e2e-first
hypervisor: lxc:///system
defaults: {memory: 256}
networks:
  lan1: {cidr: 10.93.1.0/24}
  link: {cidr: 10.93.0.0/30}
  lan2: {cidr: 10.93.2.0/24}
hosts:
  pc1: {networks: {lan1: 10.93.1.10}}
  router1: {role: router, networks: {lan1: 10.93.1.1, link: 10.93.0.1}}
  router2: {role: router, networks: {link: 10.93.0.2, lan2: 10.93.2.1}}
  pc2: {networks: {lan2: dhcp}}
"""


def of_hypervisor(address: str) -> bool:
    """Tell whether the hypervisor itself has an address."""
    return bool(on_hypervisor("ip", "-brief", "address", "show", "to", address))


def test_a_router_is_at_the_first_address_and_the_hypervisor_leaves_it_to_it(
    make_lab: Callable[[str], RunningLab],
) -> None:
    lab = make_lab(TEACHING)
    up = lab.json("up", "--configure")
    assert up.exit_code == 0, up.trouble()
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
    assert of_hypervisor("10.93.1.2")
    assert not of_hypervisor("10.93.0.0/30")
    assert "via 10.93.2.1" in lab.guest("pc2", "ip route show default")
    assert lab.json("up").statuses() == {"ok"}


@pytest.mark.full
def test_the_hypervisor_moves_on_its_network_and_off_it(make_lab: Callable[[str], RunningLab]) -> None:
    lab = make_lab(TEACHING)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    moved = TEACHING.replace("10.93.1.0/24}", "10.93.1.0/24, hypervisor_address: 10.93.1.200}")
    moved = moved.replace("10.93.2.0/24}", "10.93.2.0/24, hypervisor_address: none}").replace(
        "lan2: dhcp", "lan2: 10.93.2.7"
    )
    lab.path.write_text(moved, encoding="utf-8")
    # The networks are started anew under the machines on them, which are plugged in again.
    again = lab.json("up")
    assert again.of("network", name="lan1")[0]["status"] == "changed"
    assert {row["name"]: row["status"] for row in again.of("ready")} == {
        "pc1": "ok",
        "router1": "ok",
        # Nothing is waited for that the file rules out: these are looked at from inside.
        "router2": "ok",
        "pc2": "pending",
    }
    (row,) = again.of("ready", "router2")
    assert row["why"] == (
        "the hypervisor has no way to router2: only on lan2, where the hypervisor has no address: "
        "seen out of band"
    )
    # Its new address is not there before it is configured.
    assert "`labrun configure` sets it" in again.of("ready", "pc2")[0]["why"]
    assert again.exit_code == 3
    assert again.document["seconds"] < 60
    assert of_hypervisor("10.93.1.200")
    assert not of_hypervisor("10.93.2.0/24")
    assert lab.json("plan").exit_code == 0
