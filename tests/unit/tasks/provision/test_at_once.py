"""How many machines come up at the same time."""

from __future__ import annotations

import pytest

from labrun.hypervisor import connect
from labrun.tasks.provision.at_once import at_once, machines_at_once
from labrun.tasks.provision.driver import MachineSpec, Seed


@pytest.mark.parametrize(
    ("processors", "free", "peaks", "number"),
    [
        (2, 20_000, [96] * 100, 16),
        (16, 20_000, [96] * 100, 128),
        (2, 2_000, [812] * 5, 2),
        (2, 2_000, [812, 1_900], 1),
        (1, 100, [5_000], 1),
        (2, 0, [96], 1),
        (4, 8_000, [], 32),
    ],
)
def test_processors_and_memory_decide(processors: int, free: int, peaks: list[int], number: int) -> None:
    assert at_once(processors, free, peaks) == number


def test_the_hypervisor_is_asked_for_both() -> None:
    """By libvirt's test driver: 16 processors, 3 GiB of memory."""
    connection = connect("test:///default")
    spec = MachineSpec("lab", "one", "lab-one", "any", 512, 1, 1, (), Seed("", "", ""), "lab")
    processors, free = connection.getInfo()[2], connection.getFreeMemory() // 2**20
    assert (processors, machines_at_once(connection, [])) == (16, 128)
    assert machines_at_once(connection, [("qemu", spec)]) == min(128, max(1, free // 812))
