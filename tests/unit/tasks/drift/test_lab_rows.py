"""Networks and machines: the verdict by the hashes in their tags, and what a row then says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from labrun.outcome import Outcome, Status
from labrun.ownership import Tag
from labrun.tasks.drift.lab_rows import lab_rows
from labrun.tasks.provision.applied_tag import recall, remember
from labrun.tasks.provision.driver import MachineSpec, NicSpec, ObservedMachine, Seed
from labrun.tasks.provision.filters import FilterSpec, plan_filter
from labrun.tasks.provision.lxc import settings_of
from labrun.tasks.provision.machine_plan import plan_machine
from labrun.tasks.provision.network_state import NetworkSpec, ObservedNetwork, plan_network
from labrun.tasks.provision.planning import LabPlan, PlannedMachine, SeenMachine

NICS = (NicSpec("02:00:00:00:00:01", "lab-left"), NicSpec("02:00:00:00:00:02", "lab-right"))
SPEC = MachineSpec("lab", "one", "lab-one", "debian-12", 256, 1, 10, NICS, Seed("", "", ""), "lab")
WANTED = settings_of(SPEC)
FILE = "f" * 64


def tag(applied: Mapping[str, str] | None, digest: str = FILE) -> Tag:
    extra = {} if applied is None else {"applied": remember(applied)}
    return Tag("lab", "one", digest, extra=extra)


def machine(
    now: Mapping[str, str] | None = None,
    *,
    applied: Mapping[str, str] | None = WANTED,
    digest: str = FILE,
    state: str = "running",
    live: Mapping[str, str] | None = None,
) -> Outcome:
    settings = MappingProxyType({**WANTED, **(now or {})})
    seen = ObservedMachine("lab-one", "one", "u", state, settings, live or {}, tag(applied, digest))
    item = PlannedMachine(
        SPEC,
        "lxc",
        "lxc:///system",
        plan_machine("one", WANTED, seen),
        SeenMachine("lxc", "lxc:///system", seen),
    )
    (row,) = lab_rows(LabPlan((), (item,), (), ()), FILE, ())
    return row


def network(now: Mapping[str, str], applied: Mapping[str, str]) -> Outcome:
    wanted = {"dhcp": "10.1.0.2-10.1.0.9", "autostart": "yes", "active": "yes", "reservations": "a=1/x b=2/y"}
    spec = NetworkSpec("lab", "left", "lab-left", "", wanted)
    seen = ObservedNetwork("lab-left", True, {**wanted, **now}, tag=tag({**wanted, **applied}))
    (row,) = lab_rows(LabPlan(((spec, plan_network("left", wanted, seen)),), (), (), ()), FILE, ())
    return row


def test_hashes_come_back_from_the_tag() -> None:
    assert set(recall(remember(WANTED))) == set(WANTED)
    assert recall("") == {}
    assert recall("nonsense here=1") == {"here": "1"}


@pytest.mark.parametrize(
    ("row", "status", "expected", "actual"),
    [
        (machine(), Status.OK, "as in the file", "as declared"),
        (machine({"memory": "128"}), Status.DRIFTED, "memory 256", "memory 128"),
        (machine(live={"memory": "64"}), Status.DRIFTED, "memory 256", "memory 64"),
        (
            machine({"memory": "128"}, applied={**WANTED, "memory": "128"}),
            Status.PENDING,
            "memory 256",
            "memory 128",
        ),
        (
            machine({"memory": "64"}, applied={**WANTED, "memory": "128"}),
            Status.CONFLICT,
            "memory 256",
            "memory 64",
        ),
        (
            machine({"memory": "128"}, applied={**WANTED, "memory": "128"}, live={"memory": "64"}),
            Status.CONFLICT,
            "memory 256",
            "memory 128",
        ),
        (
            machine({"memory": "128", "autostart": "yes"}, applied={**WANTED, "memory": "128"}),
            Status.CONFLICT,
            "memory 256, autostart no",
            "memory 128, autostart yes",
        ),
        (
            machine(live={"nics": "02:00:00:00:00:01@lab-left"}),
            Status.DRIFTED,
            "nics 02:00:00:00:00:02@lab-right",
            "nics without 02:00:00:00:00:02@lab-right",
        ),
        (machine(state="shut off"), Status.DRIFTED, "running", "shut off"),
        (machine({"memory": "128"}, applied=None), Status.DRIFTED, "memory 256", "memory 128"),
        (machine({"memory": "128"}, applied=None, digest="old"), Status.UNKNOWN, "memory 256", "memory 128"),
        (
            network({"dhcp": "10.1.0.2-10.1.0.5"}, {}),
            Status.DRIFTED,
            "dhcp 10.1.0.2-10.1.0.9",
            "dhcp 10.1.0.2-10.1.0.5",
        ),
        (
            network({"reservations": "a=1/x"}, {}),
            Status.DRIFTED,
            "reservations b=2/y",
            "reservations without b=2/y",
        ),
        (
            network({"reservations": "a=1/x"}, {"reservations": "a=1/x"}),
            Status.PENDING,
            "reservations b=2/y",
            "reservations without b=2/y",
        ),
        (network({"active": "no"}, {}), Status.DRIFTED, "active yes", "active no"),
    ],
)
def test_the_verdict_and_what_the_row_shows(row: Outcome, status: Status, expected: str, actual: str) -> None:
    assert (row.status, row.expected, row.actual) == (status, expected, actual)


@pytest.mark.parametrize(("made", "status"), [((), Status.PENDING), (("one",), Status.DRIFTED)])
def test_a_machine_that_is_not_there_is_new_or_gone(made: tuple[str, ...], status: Status) -> None:
    item = PlannedMachine(SPEC, "lxc", "lxc:///system", plan_machine("one", WANTED, None), None)
    (row,) = lab_rows(LabPlan((), (item,), (), ()), FILE, made)
    assert (row.status, row.actual) == (status, "absent")


def test_a_network_that_is_not_there_is_gone_where_machines_are_plugged_into_it() -> None:
    spec = NetworkSpec("lab", "left", "lab-left", "", {"active": "yes"})
    missing = ((spec, plan_network("left", {"active": "yes"}, None)),)
    seen = ObservedMachine("lab-one", "one", "u", "running", WANTED, {}, tag(WANTED))
    item = PlannedMachine(
        SPEC,
        "lxc",
        "lxc:///system",
        plan_machine("one", WANTED, seen),
        SeenMachine("lxc", "lxc:///system", seen),
    )
    (alone,) = lab_rows(LabPlan(missing, (), (), ()), FILE, ())
    first, _ = lab_rows(LabPlan(missing, (item,), (), ()), FILE, ())
    assert (alone.status, first.status) == (Status.PENDING, Status.DRIFTED)
    assert first.why == "there is none, although labrun has made one: machines are plugged into it"


def test_a_definition_alone_is_put_right_beside_the_running_network() -> None:
    wanted = {"dhcp": "10.1.0.2-10.1.0.9", "autostart": "yes", "active": "yes"}
    edited = ObservedNetwork(
        "lab-left", True, {**wanted, "dhcp": "10.1.0.2-10.1.0.5"}, live={"dhcp": wanted["dhcp"]}
    )
    restarted = ObservedNetwork("lab-left", True, {**wanted, "dhcp": "10.1.0.2-10.1.0.5"})
    running = ObservedNetwork("lab-left", True, wanted, live={"dhcp": "10.1.0.2-10.1.0.5"})
    assert [plan_network("left", wanted, each).action for each in (edited, restarted, running)] == [
        "update",
        "restart",
        "restart",
    ]


@pytest.mark.parametrize(
    ("observed", "digest", "status", "actual"),
    [
        (("drop in mac",), FILE, Status.OK, "as declared"),
        (("drop out mac",), FILE, Status.DRIFTED, "other rules"),
        (None, FILE, Status.DRIFTED, "absent"),
        (("drop out mac",), "0" * 64, Status.PENDING, "other rules"),
        (None, "0" * 64, Status.PENDING, "absent"),
    ],
)
def test_a_filter_has_moved_where_the_machines_were_made_from_this_very_file(
    observed: tuple[str, ...] | None, digest: str, status: Status, actual: str
) -> None:
    spec = FilterSpec("lab", "quiet", "lab-quiet", ("drop in mac",))
    settings = MappingProxyType(dict(WANTED))
    seen = ObservedMachine("lab-one", "one", "u", "running", settings, {}, tag(WANTED, digest))
    there = SeenMachine("lxc", "lxc:///system", seen)
    item = PlannedMachine(SPEC, "lxc", "lxc:///system", plan_machine("one", WANTED, seen), there)
    plan = LabPlan((), (item,), (), (), ((spec, plan_filter(spec, observed)),))
    row, _ = lab_rows(plan, FILE, ())
    assert (row.host, row.section, row.name) == ("hypervisor", "filter", "quiet")
    assert (row.status, row.actual) == (status, actual)
