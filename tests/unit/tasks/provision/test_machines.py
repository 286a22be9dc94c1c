"""Machines as values: what is rendered is read back, and what happens is a function of both sides."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.ownership import read_tag
from labrun.tasks.provision import lxc_by_hand, qemu_xml
from labrun.tasks.provision.domains import network_in, nic_key, nics_of, nics_text
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed
from labrun.tasks.provision.machines import (
    SETTINGS,
    plan_machine,
    processors_in,
    read_settings,
    taken_at_start,
    waiting_for_start,
    wanted_settings,
)
from labrun.tasks.provision.objects import Observed
from labrun.tasks.state.item import Difference

WANTED = {"driver": "lxc", "image": "debian-12", "memory": "512", "nics": "02:00:00:00:00:01@lab-net"}
NICS = (NicSpec("02:00:00:00:00:01", "lab-a", 1400), NicSpec("02:00:00:00:00:02", "lab-b", filter="lab-it"))
SPEC = MachineSpec("lab", "one", "lab-one", "debian-12", 512, 2, 10, NICS, Seed("", "", ""), "lab")


def there(state: str = "running", **changes: str) -> Observed:
    return Observed("lab-one", {**WANTED, **changes}, host="one", state=state)


def rendered(driver: str, spec: MachineSpec) -> str:
    if driver == "lxc":
        processors = "" if spec.every_processor else f"0-{spec.vcpus},^1"
        return lxc_by_hand.domain_xml(spec, Path("/root"), processors=processors)
    files = qemu_xml.MachineFiles("/pool", spec.host)
    return qemu_xml.domain_xml(spec, files, virt="qemu", image_volume="image.qcow2")


@pytest.mark.parametrize("driver", ["lxc", "qemu"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"memory": 96},
        {"vcpus": 7},
        {"every_processor": True},
        {"image": "rocky-9"},
        {"nics": ()},
        {"nics": NICS[::-1]},
        {"firmware": "uefi"},
    ],
)
def test_what_is_written_is_read(driver: str, changed: dict[str, object]) -> None:
    spec = replace(SPEC, **changed)  # type: ignore[arg-type]
    xml = rendered(driver, spec)
    tag = read_tag(xml)
    assert tag is not None
    wanted = wanted_settings(driver, spec)
    elsewhere = {"autostart", "persistent", *(["disk", "disks"] if driver == "qemu" else [])}
    assert read_settings(driver, xml, tag) == {k: wanted[k] for k in wanted if k not in elsewhere}
    # Each change but a container's firmware shows, and each VM has a number of processors.
    shows = wanted != wanted_settings(driver, SPEC)
    nothing = {"lxc": "firmware", "qemu": "every_processor"}[driver] in changed
    assert shows == bool(changed and not nothing)


def test_the_model_of_a_vm_s_nic_is_written_and_read() -> None:
    spec = replace(SPEC, nics=(replace(NICS[0], model="e1000"), NICS[1]))
    xml = rendered("qemu", spec)
    assert nics_of(xml) == spec.nics
    assert [element.get("type") for element in ET.fromstring(xml).iterfind(".//interface/model")] == [
        "e1000",
        "virtio",
    ]
    assert nics_text(spec.nics).split()[0] == "02:00:00:00:00:01@lab-a=e1000"
    assert network_in(nics_text(spec.nics).split()[0]) == "lab-a"
    assert nic_key(spec.nics[0]) != nic_key(NICS[0])


def test_every_setting_is_known_by_vms_and_those_of_containers_by_containers() -> None:
    assert list(wanted_settings("qemu", SPEC)) == ["driver", *SETTINGS]
    assert list(wanted_settings("lxc", SPEC)) == [
        "driver",
        "image",
        "user",
        "memory",
        "vcpus",
        "nics",
        "autostart",
        "persistent",
    ]


@pytest.mark.parametrize(
    ("wanted", "observed", "action", "start"),
    [
        (WANTED, None, "create", True),
        (WANTED, there(), "none", False),
        (WANTED, there("shut off"), "start", True),
        (WANTED, there("crashed"), "start", True),
        (WANTED, there(memory="256"), "update", False),
        (WANTED, replace(there(), later={"memory": "256"}), "update", False),
        (WANTED, there("shut off", memory="256"), "update", True),
        ({**WANTED, "persistent": "yes"}, there(persistent="no"), "update", False),
        (WANTED, there(image="other"), "recreate", True),
        (WANTED, there(driver="qemu"), "recreate", True),
    ],
)
def test_the_action(wanted: dict[str, str], observed: Observed | None, action: str, start: bool) -> None:
    plan = plan_machine("one", wanted, observed)
    assert (plan.action, plan.start) == (action, start)


def test_the_diff_names_what_is_and_what_should_be() -> None:
    plan = plan_machine("one", WANTED, there(memory="256"))
    assert plan.item.diff == "- memory: 256\n+ memory: 512"
    assert plan_machine("one", WANTED, there()).item.diff is None


def test_recreate_is_asked_for_even_where_nothing_differs() -> None:
    assert plan_machine("one", WANTED, there(), recreate=True).action == "recreate"
    assert plan_machine("one", WANTED, None, recreate=True).action == "create"


@pytest.mark.parametrize(
    ("text", "processors"),
    [("", ()), ("0", (0,)), ("0-2,5", (0, 1, 2, 5)), ("0-3,^1-2", (0, 3)), ("7,1", (1, 7))],
)
def test_sets_of_processors(text: str, processors: tuple[int, ...]) -> None:
    assert processors_in(text) == processors


DISKS = {"driver": "qemu", "memory": "512", "disk": "10", "disks": "2 5", "image": "i", "firmware": "bios"}
NEW = "this needs a new machine: labrun up --recreate --hosts one"


@pytest.mark.parametrize(
    ("wanted", "seen", "left", "kept"),
    [
        # Growth, and what has nothing to do with disks, is done.
        ({"disk": "11", "disks": "3 5 1"}, {}, set(), ""),
        ({"memory": "256"}, {}, set(), ""),
        # Nothing of it can be done.
        ({"disk": "9"}, {}, set(), NEW),
        ({"disks": "2"}, {}, set(), NEW),
        ({"disk": "9", "disks": "2 4"}, {}, set(), NEW),
        # The rest is.
        ({"memory": "256", "disks": "2"}, {}, {"disks"}, f"disks: {NEW}"),
        ({"memory": "256", "disk": "9"}, {}, {"disk"}, f"disk: {NEW}"),
        ({"disk": "12", "disks": "1 5"}, {}, {"disks"}, f"disks: {NEW}"),
        ({"memory": "256", "disk": "9", "disks": ""}, {}, {"disk", "disks"}, f"disk, disks: {NEW}"),
        # A lost disk makes every definition wrong.
        ({"memory": "256"}, {"disk": "missing"}, set(), NEW),
        ({"memory": "256"}, {"disks": "2 missing"}, set(), NEW),
        # What cannot be seen counts as it should be.
        ({"memory": "256"}, {"disk": "pool-off", "disks": "pool-off pool-off"}, set(), ""),
    ],
)
def test_what_only_a_new_machine_can_carry_leaves_the_rest(
    wanted: dict[str, str], seen: dict[str, str], left: set[str], kept: str
) -> None:
    there = Observed("lab-one", {**DISKS, **seen}, host="one", state="running")
    plan = plan_machine("one", {**DISKS, **wanted}, there)
    assert (plan.action, set(plan.left), plan.kept) == ("update", left, kept)


def test_what_waits_for_the_next_start() -> None:
    every = [*SETTINGS, "driver"]
    assert taken_at_start("qemu", every) == ("memory", "vcpus")
    assert taken_at_start("lxc", every) == ("vcpus",)
    assert taken_at_start("qemu", ["nics", "disks"]) == ()


@pytest.mark.parametrize(
    ("wanted", "waits"),
    [
        ("A@lab-n%tap=e1000e B@lab-m", True),
        ("B@lab-m A@lab-n%tap=e1000e", True),
        # Another network, a filter, a NIC more or less come at once.
        ("A@lab-m%tap B@lab-m", False),
        ("A@lab-n+lab-it%tap", False),
        ("A@lab-n%tap B@lab-m C@lab-o=e1000e", False),
    ],
)
def test_a_nic_that_is_there_gets_another_model_at_the_next_start(wanted: str, waits: bool) -> None:
    nics = {"nics": Difference("A@lab-n%tap B@lab-m", wanted)}
    assert waiting_for_start("qemu", nics) == (("nics",) if waits else ())
    both = {**nics, "memory": Difference("256", "512"), "autostart": Difference("no", "yes")}
    assert waiting_for_start("qemu", both) == (("memory", "nics") if waits else ("memory",))
