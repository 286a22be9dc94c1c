"""The processors that containers are held to: spread evenly, and the same in each run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from labrun.inventory.model import Lab, Machine
from labrun.tasks.provision.lxc_limits import processors_of
from labrun.tasks.provision.specs import machine_spec
from tests.unit import small_labs


class Hypervisor:
    """A connection to a hypervisor with these processors; False = switched off."""

    def __init__(self, *online: bool) -> None:
        self._online = online

    def getCPUMap(self) -> tuple[int, tuple[bool, ...], int]:  # noqa: N802 - libvirt's name
        return len(self._online), self._online, sum(self._online)


def lab_of(*machines: Machine) -> Lab:
    nets = [small_labs.network("n", "10.1.0.0/24")]
    hosts = [
        replace(small_labs.host(f"h{number}", {"n": f"10.1.0.{number + 10}/24"}), machine=machine)
        for number, machine in enumerate(machines)
    ]
    return small_labs.lab(nets, hosts)


def container(vcpus: int | None = 1) -> Machine:
    return Machine("debian-12", 256, vcpus, 10)


def placed(lab: Lab, *online: bool) -> list[list[int]]:
    found = (processors_of(Hypervisor(*online), machine_spec(lab, host)) for host in lab.hosts.values())
    return [[int(each) for each in cpus.split(",")] if cpus else [] for cpus in found]


@pytest.mark.parametrize("processors", [1, 2, 3, 4, 7, 16])
def test_ten_containers_of_one_processor_are_spread_evenly(processors: int) -> None:
    found = placed(lab_of(*[container()] * 10), *[True] * processors)
    assert all(len(each) == 1 for each in found)
    used = Counter(each[0] for each in found)
    counts = [used[number] for number in range(processors)]
    assert sum(counts) == 10
    assert max(counts) - min(counts) <= 1


def test_those_of_several_processors_follow_each_other_round_all_that_are_online() -> None:
    found = placed(lab_of(container(2), container(1), container(3)), True, False, True, True)
    assert [len(each) for each in found] == [2, 1, 3]
    # Each of the three that are online carries two.
    assert Counter(number for each in found for number in each) == {0: 2, 2: 2, 3: 2}


def test_machines_and_containers_that_are_not_held_take_no_turn() -> None:
    others = (container(None), replace(container(5), driver="qemu"))
    lab = lab_of(container(), *others, container())
    first, free, _, second = placed(lab, True, True)
    assert free == []
    assert sorted([*first, *second]) == [0, 1]


def test_a_container_keeps_its_processors_when_others_follow_it_in_the_file() -> None:
    few, many = (placed(lab_of(*[container()] * count), *[True] * 5) for count in (3, 8))
    assert many[:3] == few
