"""A network's way out that goes while its guests run: `verify` names it, and is content when it is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.segment import on_hypervisor
from tests.labs import RunningLab

DEVICE = "e2e-up0"
LAB = f"""\
name: e2e-uplink
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 128}}
networks:
  out: {{mode: nat, dev: {DEVICE}, cidr: 10.144.7.0/24}}
hosts:
  one: {{networks: {{out: 10.144.7.11}}}}
"""


@pytest.fixture
def wire() -> Iterator[None]:
    add = ("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "e2e-up1")
    on_hypervisor("ip", "link", "del", DEVICE, check=False)
    on_hypervisor(*add)
    for name in (DEVICE, "e2e-up1"):
        on_hypervisor("ip", "link", "set", name, "up")
    yield
    on_hypervisor("ip", "link", "del", DEVICE, check=False)


def test_a_way_out_that_is_gone_is_named(
    hypervisor: None, wire: None, make_lab: Callable[[str], RunningLab]
) -> None:
    lab = make_lab(LAB)
    up = lab.json("up", "--configure")
    assert up.exit_code == 0, up.trouble()
    assert lab.json("verify").exit_code == 0
    steps = {
        ("ip", "link", "set", "e2e-up1", "down"): f"the device {DEVICE} of the hypervisor has no carrier: ",
        ("ip", "link", "set", DEVICE, "down"): f"the device {DEVICE} of the hypervisor is down ",
        ("ip", "link", "del", DEVICE): f"the hypervisor has no device {DEVICE}",
    }
    for command, why in steps.items():
        on_hypervisor(*command)
        answer = lab.json("verify")
        assert answer.exit_code == 1, answer.rows
        (row,) = answer.bad()
        assert (row["host"], row["section"], row["name"]) == ("hypervisor", "network", "out")
        assert row["why"].startswith(why), row
