"""The verdict from three sides, every combination; and what configure's items say of theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.outcome import Outcome, Status
from labrun.tasks.configure.applied import renewed, write_applied
from labrun.tasks.configure.resources import plan_host
from labrun.tasks.drift.host_rows import host_rows, silent_rows
from labrun.tasks.drift.verdict import Sides, combined, verdict
from labrun.tasks.guest.facts.applied import PATH, Applied, Fingerprint
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts

OK, PENDING, DRIFTED = Status.OK, Status.PENDING, Status.DRIFTED
CONFLICT, UNKNOWN = Status.CONFLICT, Status.UNKNOWN
KEY = "net.ipv4.ip_forward"
PROC = f"/proc/sys/{KEY.replace('.', '/')}"
DROP_IN = "/etc/sysctl.d/90-labrun.conf"


@pytest.mark.parametrize(
    ("sides", "status"),
    [
        (Sides(True, "d", "o", None), OK),
        (Sides(True, "new", "new", ("d", "o")), OK),
        (Sides(False, "d", "o", None), PENDING),
        (Sides(False, "d", "o", None, asked=False), DRIFTED),
        (Sides(False, "d", "o", None, asked=False, recorded=False), PENDING),
        (Sides(False, "new", "o", ("d", "o")), PENDING),
        (Sides(False, "d", "new", ("d", "o")), DRIFTED),
        (Sides(False, "new", "new", ("d", "o")), CONFLICT),
        (Sides(False, "d", "o", ("d", "o")), UNKNOWN),
        (Sides(False, "d", None, ("d", "o")), UNKNOWN),
        (Sides(False, "new", None, ("d", "o")), PENDING),
        (Sides(False, "d", "o", ("d", "o"), asked=False), PENDING),
        (Sides(False, "d", "new", ("d", "o"), asked=False), CONFLICT),
    ],
)
def test_the_side_that_moved_gives_the_verdict(sides: Sides, status: Status) -> None:
    assert verdict(sides) is status


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((), OK),
        ((OK, OK), OK),
        ((OK, PENDING), PENDING),
        ((DRIFTED, OK), DRIFTED),
        ((DRIFTED, PENDING), CONFLICT),
        ((DRIFTED, CONFLICT), CONFLICT),
        ((UNKNOWN, DRIFTED), DRIFTED),
        ((UNKNOWN, OK), UNKNOWN),
    ],
)
def test_the_verdict_over_a_thing_follows_from_its_parts(parts: tuple[Status, ...], whole: Status) -> None:
    assert combined(parts) is whole


def spec(value: str | None = "1") -> dict[str, object]:
    return {"host": "one", "sections": {"sysctl": {"values": {} if value is None else {KEY: value}}}}


def facts(running: str = "1", drop_in: str | None = f"{KEY} = 1\n", **files: str) -> Facts:
    found = {PROC: f"{running}\n", **files}
    if drop_in is not None:
        found[DROP_IN] = drop_in
    return Facts(found, words=frozenset({f"writable {PROC}"}))


@pytest.fixture
def remembered(tmp_path: Path) -> dict[str, str]:
    """The record of a host that was configured with the value 1, as a gather reads it."""
    plan = plan_host(spec(), facts())
    written = renewed(None, plan, run="r", version="1", digest="d")
    here = tmp_path / "applied.json"
    script = write_applied(written).replace(PATH.removesuffix("/applied.json"), str(tmp_path))
    subprocess.run(["sh", "-e"], input=guest_script("install_file") + script, text=True, check=True)
    return {PATH: here.read_text(encoding="utf-8")}


def row(of: dict[str, object], seen: Facts, files: dict[str, str]) -> Outcome:
    (found,) = host_rows(of, Facts({**seen.files, **files}, seen.commands, seen.words))
    return found


@pytest.mark.parametrize(
    ("of", "seen", "status"),
    [
        (spec(), facts(), OK),
        (spec(), facts(running="0"), DRIFTED),
        (spec(), facts(drop_in=None), DRIFTED),
        (spec(), facts(**{"/etc/sysctl.d/99-later.conf": f"{KEY} = 0\n"}), DRIFTED),
        (spec("0"), facts(), PENDING),
        (spec("2"), facts(running="0"), CONFLICT),
        (spec(None), facts(), PENDING),
    ],
)
def test_a_setting_says_who_has_moved(
    of: dict[str, object], seen: Facts, status: Status, remembered: dict[str, str]
) -> None:
    assert row(of, seen, remembered).status is status


def test_a_host_that_was_never_configured_is_pending() -> None:
    found = row(spec(), facts(running="0", drop_in=None), {})
    assert (found.status, found.why) == (PENDING, "nothing was applied to this host yet")


def test_a_line_that_somebody_added_to_labruns_file_has_drifted(remembered: dict[str, str]) -> None:
    rows = host_rows(
        spec(), Facts({**facts(drop_in=f"{KEY} = 1\nnet.ipv4.ip_default_ttl = 9\n").files, **remembered})
    )
    assert {(each.name, each.status) for each in rows} >= {("net.ipv4.ip_default_ttl", DRIFTED)}


def test_a_silent_host_has_all_its_rows() -> None:
    assert [(each.section, each.name, each.status) for each in silent_rows(spec(), UNKNOWN, "why")] == [
        ("sysctl", KEY, UNKNOWN)
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"schema": 1, "run": "r"', "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"schema": ' + "1" * 5000 + "}", "a number of more than 40 digits"),
        ('{"schema": 1, "items": []}', "not a record of labrun's"),
    ],
)
def test_with_a_damaged_record_nobody_knows_who_has_moved(
    text: str, fault: str, remembered: dict[str, str]
) -> None:
    broken = dict.fromkeys(remembered, text)
    found = row(spec(), facts(running="0"), broken)
    (path,) = remembered
    assert (found.status, found.why) == (
        UNKNOWN,
        f"who has moved cannot be told: {path} on one: {fault}; `labrun configure` writes it anew",
    )
    assert row(spec(), facts(running="1"), broken).status is OK


def test_the_record_is_about_what_was_declared_then() -> None:
    known = Applied("r", "1", "d", {("sysctl", KEY): Fingerprint("x", "y")})
    assert renewed(known, plan_host(spec(), facts()), run="s", version="1", digest="e").items[
        ("sysctl", KEY)
    ] != (Fingerprint("x", "y"))
