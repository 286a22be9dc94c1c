"""Networks and machines: the verdict by the hashes in their tags, and what a row then says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import pytest

from labrun.outcome import Outcome, Status
from labrun.ownership import Tag
from labrun.tasks.drift.lab_rows import lab_rows
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed
from labrun.tasks.provision.filters import plan_filter
from labrun.tasks.provision.machines import plan_machine, wanted_settings
from labrun.tasks.provision.networks import plan_network
from labrun.tasks.provision.objects import Observed, Planned, Spec
from labrun.tasks.provision.owned import applied_of, record_of
from labrun.tasks.provision.planning import LabPlan, PlannedMachine, SeenMachine
from labrun.tasks.state.fingerprint import Fingerprint

NICS = (NicSpec("02:00:00:00:00:01", "lab-left"), NicSpec("02:00:00:00:00:02", "lab-right"))
SPEC = MachineSpec("lab", "one", "lab-one", "debian-12", 256, 1, 10, NICS, Seed("", "", ""), "lab")
WANTED = wanted_settings("lxc", SPEC)
FILE = "f" * 64


def tag(applied: Mapping[str, str] | None, digest: str = FILE) -> Tag:
    extra = {} if applied is None else {"applied": record_of(applied)}
    return Tag("lab", "one", digest, extra=extra)


def planned(seen: Observed | None) -> PlannedMachine:
    there = None if seen is None else SeenMachine("lxc", "lxc:///system", seen)
    return PlannedMachine(SPEC, "lxc", "lxc:///system", plan_machine("one", WANTED, seen), there)


def running(of: Tag) -> Observed:
    return Observed("lab-one", WANTED, {}, of, "one", "running")


def machine(
    now: Mapping[str, str] | None = None,
    *,
    applied: Mapping[str, str] | None = WANTED,
    digest: str = FILE,
    state: str = "running",
    live: Mapping[str, str] | None = None,
) -> Outcome:
    """Return the row of a machine defined with ``now``, which runs with ``live`` instead."""
    defined = {**WANTED, **(now or {})}
    have = {**defined, **(live or {})}
    later = {key: defined[key] for key in live or {}}
    seen = Observed("lab-one", have, later, tag(applied, digest), "one", state)
    (row,) = lab_rows(LabPlan(machines=(planned(seen),)), FILE, ())
    return row


def network(now: Mapping[str, str], applied: Mapping[str, str]) -> Outcome:
    wanted = {"dhcp": "10.1.0.2-10.1.0.9", "autostart": "yes", "active": "yes", "reservations": "a=1/x b=2/y"}
    spec = Spec("lab", "left", "lab-left", wanted, "")
    seen = Observed("lab-left", {**wanted, **now}, tag=tag({**wanted, **applied}))
    (row,) = lab_rows(LabPlan((Planned(spec, plan_network(spec, seen), seen),)), FILE, ())
    return row


def test_hashes_come_back_from_the_tag() -> None:
    found = applied_of(tag({"memory": "256", "nics": ""}))
    assert found == {
        key: Fingerprint(digest, digest)
        for key, text in (("memory", "256"), ("nics", ""))
        for digest in (sha256(text.encode()).hexdigest()[:16],)
    }
    assert (applied_of(None), applied_of(tag(None))) == ({}, {})


def test_a_record_of_eight_digits_still_tells_who_has_moved() -> None:
    short = " ".join(f"{key}={sha256(text.encode()).hexdigest()[:8]}" for key, text in WANTED.items())
    old = Tag("lab", "one", "an older file", extra={"applied": short})
    drifted = Observed("lab-one", {**WANTED, "memory": "64"}, {}, old, "one", "running")
    (row,) = lab_rows(LabPlan(machines=(planned(drifted),)), FILE, ())
    assert (row.status, row.actual) == (Status.DRIFTED, "memory 64")
    asked, there = (sha256(text).hexdigest()[:8] for text in (b"256", b"64"))
    before = replace(old, extra={"applied": short.replace(asked, there)})
    (row,) = lab_rows(LabPlan(machines=(planned(replace(drifted, tag=before)),)), FILE, ())
    assert (row.status, row.actual) == (Status.PENDING, "memory 64")


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
            "memory 64",
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
    (row,) = lab_rows(LabPlan(machines=(planned(None),)), FILE, made)
    assert (row.status, row.actual) == (status, "absent")


def test_a_network_that_is_not_there_is_gone_where_machines_are_plugged_into_it() -> None:
    spec = Spec("lab", "left", "lab-left", {"active": "yes"}, "")
    missing = (Planned(spec, plan_network(spec, None), None),)
    # A running machine is no longer plugged into what is gone; its definition still is.
    seen = replace(running(tag(WANTED)), have={**WANTED, "nics": ""}, later={"nics": WANTED["nics"]})
    (alone,) = lab_rows(LabPlan(missing), FILE, ())
    first, _ = lab_rows(LabPlan(missing, (planned(seen),)), FILE, ())
    assert (alone.status, first.status) == (Status.PENDING, Status.DRIFTED)
    assert first.why == "it is gone, although labrun created it: machines are plugged into it"


def test_both_have_changed_and_the_row_says_what() -> None:
    row = machine({"memory": "128", "autostart": "yes"}, applied={**WANTED, "memory": "128"})
    assert row.why == "changed by hand: autostart; changed in the file: memory"
    assert row.diff == "- memory: 128\n+ memory: 256\n- autostart: yes\n+ autostart: no"


@pytest.mark.parametrize(
    ("observed", "digest", "status", "actual"),
    [
        ("drop in mac", FILE, Status.OK, "as declared"),
        ("drop out mac", FILE, Status.DRIFTED, "other rules"),
        (None, FILE, Status.DRIFTED, "absent"),
        ("drop out mac", "0" * 64, Status.PENDING, "other rules"),
        (None, "0" * 64, Status.PENDING, "absent"),
    ],
)
def test_a_filter_has_moved_where_the_machines_were_made_from_this_very_file(
    observed: str | None, digest: str, status: Status, actual: str
) -> None:
    spec = Spec("lab", "quiet", "lab-quiet", {"rules": "drop in mac"}, "")
    seen = None if observed is None else Observed("lab-quiet", {"rules": observed})
    each = Planned(spec, plan_filter(spec, seen), seen)
    row, _ = lab_rows(LabPlan((), (planned(running(tag(WANTED, digest))),), (each,)), FILE, ())
    assert (row.host, row.section, row.name) == ("hypervisor", "filter", "quiet")
    assert (row.status, row.actual) == (status, actual)
