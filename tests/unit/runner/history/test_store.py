"""The history's file: versions, retention, and what reading it tells."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from labrun.errors import LabrunError, UsageError
from labrun.outcome import Nic, Outcome, Pair, Status
from labrun.runner.history import schema, store, writing
from labrun.runner.history.reading import History, open_history
from labrun.runner.history.redaction import redacted
from labrun.runner.history.store import open_to_write
from tests.shares import every
from tests.unit.past_runs import DAY, NOON, remember

OK = Outcome("a", "route", "default", Status.OK)
BAD = Outcome("a", "route", "default", Status.FAILED, why="r: off")
OTHER = Outcome("b", "route", "default", Status.FAILED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.sqlite"


def of(path: Path, lab: str = "lab") -> History:
    history = open_history(path, lab)
    assert history is not None
    return history


def test_an_older_version_becomes_the_present_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = remember(path, [OK])
    later = (*schema.MIGRATIONS, ["ALTER TABLE runs ADD COLUMN mood TEXT", "UPDATE runs SET mood = 'well'"])
    monkeypatch.setattr(store, "VERSION", len(later))
    monkeypatch.setattr(store, "migrate", lambda connection: schema.migrate(connection, later))
    with contextlib.closing(open_to_write(path)) as connection:
        assert schema.version_of(connection) == len(later)
        assert connection.execute("SELECT run, mood FROM runs").fetchall() == [(run, "well")]
    with contextlib.closing(open_to_write(path)) as connection:
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)


def test_the_first_version_is_still_read_and_its_runs_are_there(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.migrate(connection, schema.MIGRATIONS[:1])
        connection.execute(
            "INSERT INTO runs (run, lab, command, arguments, labrun, process, began, seconds, exit_code)"
            " VALUES ('2026-11-25T12:00:00Z-0001', 'lab', 'up', '', '0.1.0', '', 1795608000, 1.5, 0)"
        )
    (run,) = of(path).runs()
    assert (run.run, run.state, run.versions) == ("2026-11-25T12:00:00Z-0001", "finished", {})
    remember(path, [OK])
    assert [bool(run.versions) for run in of(path).runs()] == [True, False]


def test_rows_of_the_second_version_are_told_once_what_they_are_about(path: Path) -> None:
    old = [
        ("a", "path", "a -> b", "r: forwarding is off"),
        ("a", "path", "a -> b (IPv6)", "no answer from beyond r: it is silent"),
        ("a", "check", "web", "a: nobody: listens"),
        ("a", "address", "n", "b: has it too"),
        ("a", "address", "a", None),
        ("r", "route", "default", None),
    ]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.migrate(connection, schema.MIGRATIONS[:2])
        connection.execute(
            "INSERT INTO runs (run, lab, command, arguments, labrun, process, began, seconds, exit_code)"
            " VALUES ('2026-11-25T12:00:00Z-0001', 'lab', 'verify', '', '0.1.0', '', 1795608000, 1.5, 1)"
        )
        for number, (*item, why) in enumerate(old, 1):
            connection.execute("INSERT INTO items VALUES (?, ?, ?, ?)", (number, *item))
            connection.execute(
                "INSERT INTO outcomes VALUES (1, ?, ?, 'failed', NULL, NULL, ?, NULL, 0)",
                (number, number, why),
            )
    history = of(path)
    (run,) = history.runs()
    assert [(row.subject, row.blamed) for row in history.outcomes(run)] == [
        (Pair("a", "b", 4), "r"),
        (Pair("a", "b", 6), None),
        (None, "a"),
        (Nic("a", "n"), None),
        (None, None),
        (None, None),
    ]


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    remember(path, [OK])
    later = (*schema.MIGRATIONS, ["ALTER TABLE runs ADD COLUMN mood TEXT", "no such statement"])
    with contextlib.closing(open_to_write(path)) as connection:
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(connection, later)
        assert schema.version_of(connection) == schema.VERSION
        assert "mood" not in [row[1] for row in connection.execute("PRAGMA table_info (runs)")]


def test_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    remember(path, [OK])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 6}")
    before = path.read_bytes()
    versions = f"version {schema.VERSION + 6}, this one knows up to {schema.VERSION}"
    for attempt in (open_to_write, lambda path: open_history(path, "lab")):
        with pytest.raises(LabrunError) as caught:
            attempt(path)
        assert (caught.value.reason, caught.value.hint) == (
            f"the history {path} was written by a newer labrun: {versions}",
            "--history chooses another file",
        )
    assert path.read_bytes() == before


def test_no_file_and_an_empty_one_are_no_history(path: Path) -> None:
    assert open_history(path, "lab") is None
    path.touch()
    assert open_history(path, "lab") is None


def test_runs_are_found_by_host_time_and_result(path: Path) -> None:
    first = remember(path, [OK], began=NOON - 3 * DAY)
    second = remember(path, [BAD, OTHER], exit_code=1, began=NOON - DAY)
    third = remember(path, [OK, OTHER], exit_code=1)
    fourth = remember(path, command="configure", finished=False)
    remember(path, lab="another")

    def found(**asked: object) -> list[str]:
        return [run.run for run in of(path).runs(**asked)]  # type: ignore[arg-type]

    assert found() == [fourth, third, second, first]
    assert found(limit=2) == [fourth, third]
    assert found(since=NOON - 2 * DAY) == [fourth, third, second]
    assert found(failed=True) == [fourth, third, second]
    assert found(hosts=["a"]) == [third, second, first]
    assert found(hosts=["b"], limit=1) == [third]
    assert found(hosts=["a"], failed=True) == [second]
    assert found(command="verify") == [third, second, first]


def test_a_run_is_found_by_what_somebody_would_type(path: Path) -> None:
    runs = [remember(path, began=NOON + hour * 3600) for hour in range(3)]
    configure = remember(path, command="configure", began=NOON + DAY)
    history = of(path)
    for word, run in {
        "last": configure,
        "-1": configure,
        "-2": runs[2],
        "last-1": runs[2],
        "verify": runs[2],
        "verify-2": runs[0],
        runs[1]: runs[1],
        "2026-11-25T13": runs[1],
        runs[0].rpartition("-")[2]: runs[0],
    }.items():
        assert history.find(word).run == run, word
    for word in ("down", "last-9", "2027", "", "%", "_"):
        with pytest.raises(UsageError, match=f'^RUN: there is no run "{word}"'):
            history.find(word)
    with pytest.raises(
        UsageError, match=r'^RUN: "2026" may be 2026-11-26.*, 2026-11-25.* \.\.\. \(give more'
    ):
        history.find("2026")


def test_when_a_thing_was_last_as_declared(path: Path) -> None:
    remember(path, [OK, OTHER], began=NOON)
    remember(path, [Outcome("a", "route", "default", Status.CHANGED)], command="configure", began=NOON + 1)
    remember(path, [BAD, OTHER], began=NOON + 2)
    remember(path, [Outcome("a", "route", "default", Status.SKIPPED)], began=NOON + 3)
    assert of(path).last_ok() == {("a", "route", "default"): NOON + 1}
    remember(path, command="down", removed_lab=True)
    assert of(path).last_ok() == {}


def test_the_last_run_of_each_command(path: Path) -> None:
    remember(path)
    verify = remember(path, exit_code=1)
    up = remember(path, command="up")
    remember(path, command="up", finished=False)
    assert {name: run.run for name, run in of(path).last_of_each().items()} == {"up": up, "verify": verify}


def test_old_runs_go_by_count_and_by_age(path: Path) -> None:
    now = time.time()
    old = remember(path, [OTHER], began=now - 400 * DAY, forever=False)
    assert [run.run for run in of(path).runs()] == [old], "a run is never too old when it is written"
    kept = [remember(path, [OK], began=now - hour, forever=False) for hour in (3, 2, 1)]
    assert [run.run for run in of(path).runs()] == kept[::-1]
    with contextlib.closing(open_to_write(path)) as connection:
        assert connection.execute("SELECT host FROM items").fetchall() == [("a",)]
        assert writing.keep(connection, runs=2) == 1
        assert writing.kept(connection) == (2, writing.KEEP_DAYS)
    kept.append(remember(path, [OK], began=now, forever=False))
    remember(path, lab="another")
    assert [run.run for run in of(path).runs()] == kept[:-3:-1]
    with contextlib.closing(open_to_write(path)) as connection:
        assert connection.execute("SELECT count(*) FROM outcomes").fetchone() == (2,)
        assert writing.keep(connection, runs=0, days=0) == 0


def test_evidence_is_kept_of_the_newest_runs_and_up_to_a_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "EVIDENCE_RUNS", 2)
    monkeypatch.setattr(writing, "_HOST_BYTES", 10)
    monkeypatch.setattr(writing, "RUN_BYTES", 25)
    shown = {"a": "é" * 10, "b": "x" * 11, "c": "12345678", "d": "z"}
    for _ in range(3):
        remember(path, [OK], evidence=shown)
    evidence = [of(path).evidence(run) for run in of(path).runs()]
    assert evidence[0]["a"] == "é" * 10
    assert evidence[0]["b"] == "x" * 10 + "\n(cut off after 10 characters)"
    assert evidence[0]["c"] == "1234\n(cut off after 4 characters)"
    assert evidence[0]["d"] == "\n(cut off after 0 characters)"
    assert [bool(found) for found in evidence] == [True, True, False]


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("password=hunter2 x", "password=<secret> x"),
        ("Password: 'hunter 2', y", "Password: <secret>, y"),
        ('{"api_key": "hunter2"}', '{"api_key": <secret>}'),
        ("802-11-wireless-security.psk:hunter2", "802-11-wireless-security.psk:<secret>"),
        ("nmcli c mod x wifi-sec.psk hunter2", "nmcli c mod x wifi-sec.psk <secret>"),
        ("run --db-password hunter2 now", "run --db-password <secret> now"),
        ("https://me:hunter2@host/x", "https://me:<secret>@host/x"),
        ("GET /x?access_token=hunter2&y=1", "GET /x?access_token=<secret>&y=1"),
        ("Authorization: Basic aHVudGVy", "Authorization: Basic <secret>"),
        ("curl -H 'X: Bearer hunter2hunter2'", "curl -H 'X: Bearer <secret>'"),
        ("root:$6$salt$hunter2hunter2:1", "root:<secret>:1"),
        (f"a\n{KEY}\nhunter2\n-----END OPENSSH PRIVATE KEY-----\nb", f"a\n{KEY}<secret>\nb"),
        (f"a\n{KEY}\nhunter2", f"a\n{KEY}<secret>"),
    ],
)
def test_secrets_are_masked(text: str, clean: str) -> None:
    assert redacted(text) == clean
    assert redacted(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "passwordauthentication no",
        "the password is asked for",
        "pubkeyauthentication yes",
        "no key is accepted: Permission denied (publickey,password)",
        "via 10.0.0.1 dev eth0",
        "802-11-wireless-security.psk-flags:0",
        "https://host:443/x",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    every(
        2, ["a" * 400_000, "key" * 100_000, "://" * 100_000, "-" * 300_000, "$6$:" * 100_000, ".a-" * 100_000]
    ),
)
def test_what_a_guest_prints_cannot_hold_it_up(text: str) -> None:
    began = time.process_time()
    assert redacted(f"{text} token") == f"{text} token"
    # A pattern that looks back again and again takes minutes for this.
    assert time.process_time() - began < 10
