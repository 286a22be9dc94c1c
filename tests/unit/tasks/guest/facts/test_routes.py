"""What a host takes for its own, of all that its table local has."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest

from labrun.tasks.guest.facts.routes import local_routes
from labrun.tasks.guest.shell import Captured, Facts

KERNEL: tuple[dict[str, object], ...] = (
    {"type": "local", "dst": "10.0.0.1", "dev": "eth0", "protocol": "kernel"},
    {"type": "broadcast", "dst": "10.0.0.255", "dev": "eth0", "protocol": "kernel"},
    {"type": "multicast", "dst": "224.0.0.0/4", "dev": "eth0", "protocol": "kernel"},
)


@pytest.mark.parametrize("kind", ["local", "broadcast", "anycast", "multicast"])
def test_routes_that_the_kernel_makes_for_a_subnet_are_left_out(kind: str) -> None:
    by_hand = {"type": kind, "dst": "10.0.9.9", "dev": "eth0"}
    answer = Captured(json.dumps([*KERNEL, by_hand]), 0)
    found = local_routes(Facts(MappingProxyType({}), MappingProxyType({"local4": answer})), 4)
    assert [(str(each.prefix), each.kind) for each in found] == [
        ("10.0.0.1/32", "local"),
        ("10.0.9.9/32", kind),
    ]
