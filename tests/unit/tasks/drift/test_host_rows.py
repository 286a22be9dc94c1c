"""A host's rows of drift: what configure's items and the guest's record say of who has moved."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from labrun.outcome import Outcome, Status
from labrun.tasks.configure.applied import renewed, write_applied
from labrun.tasks.configure.resources import plan_host
from labrun.tasks.drift.host_rows import host_rows, silent_rows
from labrun.tasks.guest.facts.applied import PATH, Applied
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.fingerprint import Fingerprint, as_text, digest_of

OK, PENDING, DRIFTED = Status.OK, Status.PENDING, Status.DRIFTED
CONFLICT, UNKNOWN = Status.CONFLICT, Status.UNKNOWN
KEY = "net.ipv4.ip_forward"
PROC = f"/proc/sys/{KEY.replace('.', '/')}"
DROP_IN = "/etc/sysctl.d/90-labrun.conf"


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
    return recorded(spec(), facts(), tmp_path)


def recorded(of: dict[str, object], seen: Facts, tmp_path: Path) -> dict[str, str]:
    """Return what a gather reads of the record that `configure` writes if it finds this host as it is."""
    written = renewed(None, plan_host(of, seen), run="r", version="1", digest="d")
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
    assert (found.status, found.why) == (PENDING, "nothing has been applied to this host yet")


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
        ('{"schema": 2, "run": "r"', "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"schema": ' + "1" * 5000 + "}", "a number of more than 40 digits"),
        ('{"schema": 2, "items": []}', "not a record of labrun's"),
        (
            '{"schema": 1, "run": "r", "labrun": "0", "digest": "d", "items": {"sysctl": {"x": ["1", "2"]}}}',
            "an earlier labrun recorded it",
        ),
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
        f"which side has changed is unknown: {path} on one: {fault}; `labrun configure` records it again",
    )
    assert row(spec(), facts(running="1"), broken).status is OK


def test_the_record_is_about_what_was_declared_then() -> None:
    known = Applied("r", "1", "d", {("sysctl", KEY): "=x/y"})
    found = renewed(known, plan_host(spec(), facts()), run="s", version="1", digest="e")
    assert found.items["sysctl", KEY] == as_text({"": Fingerprint(digest_of("1"), digest_of("1"))})


def units(enabled: bool, running: bool) -> dict[str, object]:
    return {
        "host": "one",
        "sections": {"services": {"units": {"cron": {"enabled": enabled, "running": running}}}},
    }


def cron(file: str, active: str) -> Facts:
    text = f"LoadState=loaded\nUnitFileState={file}\nActiveState={active}\n"
    return Facts(commands={"services": Captured(text, 0)})


@pytest.mark.parametrize(
    ("of", "seen", "status", "why"),
    [
        (units(True, True), cron("enabled", "reloading"), OK, None),
        (units(True, True), cron("enabled", "inactive"), DRIFTED, None),
        (units(True, False), cron("enabled", "active"), PENDING, None),
        (
            units(False, True),
            cron("enabled", "inactive"),
            CONFLICT,
            "changed on the host: now; changed in the file: boot",
        ),
    ],
)
def test_a_conflict_names_what_each_side_has_changed(
    of: dict[str, object], seen: Facts, status: Status, why: str | None, tmp_path: Path
) -> None:
    found = row(of, seen, recorded(units(True, True), cron("enabled", "active"), tmp_path))
    assert (found.status, found.why) == (status, why)


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("", UNKNOWN, "the record of what was applied says nothing about it"),
        ("no record", UNKNOWN, "the record of what was applied says nothing about it"),
        ("now=1", PENDING, None),
    ],
)
def test_a_record_that_says_nothing_about_a_thing_gives_no_verdict(
    text: str, status: Status, why: str | None
) -> None:
    record = {"schema": 2, "run": "r", "labrun": "1", "digest": "d", "items": {"services": {"cron": text}}}
    found = row(units(True, True), cron("disabled", "active"), {PATH: json.dumps(record)})
    assert (found.status, found.why) == (status, why)
