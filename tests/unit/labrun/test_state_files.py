"""Every file of the state directory, with everything in its place that can come there between two runs."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.key_pairs import make_host_key, public_half
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.faults.fault_state import Planted, recall, remember
from labrun.runner.engine.lock import lab_lock
from labrun.runner.history.paths import history_path
from labrun.runner.history.reading import open_history
from labrun.runner.history.recording import Recording
from labrun.runner.watching.state import (
    DriftRecord,
    drift_memory,
    read_last_drift,
    read_notified,
    remember_drift,
    remember_notified,
)
from labrun.state import LabState
from labrun.state_files import DamagedFileError, parse_json, read_file, read_or_reset
from labrun.state_folders import distrust
from tests.shares import every
from tests.unit.command_line import run_labrun

URI = "lxc:///system"
SOMEBODY = 12345
KEY = ("host", "section", "name")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
DEEP = b"[" * 100_000


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """A reader that waits for a FIFO, or reads /dev/zero to its end, is what is looked for here."""

    def give_up(_number: int, _frame: object) -> None:
        pytest.fail("it waits for ever")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Kept:
    """One file: how it is written and read, and what reading says without it."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    missing: object


def state(base: Path) -> LabState:
    return LabState.open("lab", URI, base)


def invocation(base: Path) -> Invocation:
    return Invocation("verify", state_dir=base)


def known(base: Path) -> bool:
    return state(base).remember_host_keys({"one": (["10.0.0.1"], make_host_key("x").public)})


def locked(base: Path) -> int:
    path = base / "lock"
    path.parent.mkdir(exist_ok=True)
    with lab_lock(path, "up"):
        return stat.S_IFMT(path.lstat().st_mode)


def recorded(base: Path) -> None:
    recording = Recording()
    recording.begin(invocation(base), "lab", None)
    recording.finish(Report("lab"), 1.0)


def runs(base: Path) -> int | None:
    history = open_history(history_path(invocation(base), "lab"), "lab", movable=True)
    return None if history is None else len(history.runs())


FOLDER = str(LabState(Path(), "lab").root)
RECORD = DriftRecord("R", 1.0, 1.0, 0, verdicts={KEY: Status.DRIFTED})
KEPT = [
    Kept(
        "known_hosts",
        known,
        lambda base: state(base).host_keys(),
        {},
    ),
    Kept(
        "fault",
        lambda base: remember(state(base), Planted("f", "h", ("hint",))),
        lambda base: recall(state(base)),
        None,
    ),
    Kept(
        "drift/lab.json",
        lambda base: remember_drift(drift_memory(invocation(base), "lab").last, RECORD),
        lambda base: read_last_drift(drift_memory(invocation(base), "lab").last),
        None,
    ),
    Kept(
        "drift/lab.told.json",
        lambda base: remember_notified(
            drift_memory(invocation(base), "lab").notified, "x", {KEY: Status.DRIFTED}
        ),
        lambda base: read_notified(drift_memory(invocation(base), "lab").notified, "x"),
        {},
    ),
    Kept("lock", locked, locked, stat.S_IFREG),
]
BEGUN_ANEW = re.compile(
    r"(?P<path>\S+): (?P<why>.+); it was renamed to (?P<aside>\S+), and a new one is started"
)


def place(base: Path, name: str) -> Path:
    return base / name if "/" in name or name == "lock" else state(base).root / name


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def put(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def others(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY)


def writable(path: Path) -> None:
    path.chmod(0o606)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": truncated,
    "empty words": put(b"   x\n"),
    "not UTF-8": put(b"\xff\xfe\x00"),
    "random": put(bytes(range(256)) * 5),
    "deep": put(DEEP),
    "directory": directory,
    "FIFO": fifo,
    "link to a device": link,
    "link": link_to_itself,
    "others'": others,
    "others may write": writable,
}
NEEDS_ROOT = {"others'"}
KINDS = [pytest.param(kind, marks=as_root if kind in NEEDS_ROOT else ()) for kind in DAMAGE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_what_is_not_believed_is_set_aside_with_one_line_and_begun_anew(
    kept: Kept, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = place(tmp_path, kept.name)
    kept.write(tmp_path)
    # Nothing is read of a lock but who holds it.
    content_matters = kept.name != "lock" or kind in (
        "directory",
        "FIFO",
        "link",
        "link to a device",
        *NEEDS_ROOT,
    )
    if kept.name == "lock" and kind == "others may write":
        content_matters = True
    if kept.name == "lock" and kind == "truncated":
        return  # it is empty when nobody holds it
    DAMAGE[kind](path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert kept.read(tmp_path) == kept.missing
        assert kept.read(tmp_path) == kept.missing
    said = [BEGUN_ANEW.fullmatch(record.getMessage()) for record in caplog.records]
    if not content_matters:
        assert said == []
        return
    (line,) = said
    assert line is not None
    assert line["path"] == str(path)
    assert (path.parent / line["aside"]).lstat()
    kept.write(tmp_path)
    found = kept.read(tmp_path)
    assert found or found == kept.missing == stat.S_IFREG
    assert found != kept.missing or kept.name == "lock"


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_is_begun_anew(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path)
    path = history_path(invocation(tmp_path), "lab")
    # SQLite's own recovery is not what is looked at here.
    sqlite3.connect(path).execute("PRAGMA journal_mode = DELETE").close()
    DAMAGE[kind](path)
    for _ in range(2):
        recorded(tmp_path)
    assert capsys.readouterr().err.count("\n") <= 1
    assert runs(tmp_path) == 2 if kind != "truncated" else (runs(tmp_path) or 0) >= 2
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.lstat().st_uid == os.geteuid()


WRONG_ROWS = [
    "began = 'yesterday'",
    "began = 1e300",
    "seconds = x'00'",
    "exit_code = 'none'",
    "counts = '[]'",
    f"counts = '{'[' * 100_000}'",
    'counts = \'{"ok": "many"}\'',
    "versions = '{\"python\": 3}'",
    "run = x'ff'",
    "command = x'00'",
    "interrupted = 'yes'",
]


@pytest.mark.parametrize("wrong", every(2, WRONG_ROWS), ids=lambda text: text[:30])
def test_rows_of_wrong_types_are_said_and_the_history_begins_anew(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: lab\nhosts: {a: {address: 192.0.2.1}}\n")
    base = tmp_path / "state"
    recorded(base)
    path = history_path(invocation(base), "lab")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE runs SET {wrong}")
    connection.close()
    named = run_labrun("--history", str(path), "history", cwd=tmp_path)
    assert (named.returncode, named.stdout) == (1, "")
    assert named.stderr == (
        f"error: the history {path} is damaged: it is not what labrun wrote\n"
        "hint: --history chooses another file\n"
    )
    assert path.exists(), "a file that somebody names is left where it is"
    first = run_labrun("--state-dir", "state", "history", cwd=tmp_path)
    (aside,) = path.parent.glob("lab.sqlite.damaged-*Z")
    assert (first.returncode, first.stdout) == (1, "")
    assert first.stderr == (
        f"error: the history state/history/lab.sqlite was damaged: it was renamed to {aside.name},"
        " and a new one is started\n"
    )
    second = run_labrun("--state-dir", "state", "history", cwd=tmp_path)
    assert (second.returncode, second.stdout, second.stderr) == (0, "no runs\n", "")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE evidence; CREATE VIEW evidence AS SELECT 1 AS run, '' AS content",
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM outcomes; END",
        "CREATE TABLE more (a, b GENERATED ALWAYS AS (a || a))",
    ],
)
def test_a_history_with_a_program_in_it_is_refused(statement: str, tmp_path: Path) -> None:
    recorded(tmp_path)
    path = history_path(invocation(tmp_path), "lab")
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.close()
    with pytest.raises(LabrunError, match=r"is not a history written by labrun: it has views or triggers"):
        open_history(path, "lab")


# The key pair


def test_a_whole_pair_is_left_alone(tmp_path: Path) -> None:
    state(tmp_path).ensure_keys()
    before = state(tmp_path).identity.read_bytes()
    assert state(tmp_path).ensure_keys() is False
    assert state(tmp_path).identity.read_bytes() == before


def _another_lab_s_private(state: LabState) -> None:
    other = make_host_key("labrun-other")
    state.identity.write_text(other.private)


def _another_lab_s_pair(state: LabState) -> None:
    other = make_host_key("labrun-other")
    state.identity.write_text(other.private)
    (state.root / "id_ed25519.pub").write_text(other.public + "\n")


def _no_public(state: LabState) -> None:
    (state.root / "id_ed25519.pub").unlink()


def _no_private(state: LabState) -> None:
    state.identity.unlink()


PAIRS: dict[str, Callable[[LabState], None]] = {
    "another lab's private key": _another_lab_s_private,
    "another lab's pair": _another_lab_s_pair,
    "no public key": _no_public,
    "no private key": _no_private,
    **{
        f"{name} {kind}": lambda state, name=name, damage=damage: damage(state.root / name)  # type: ignore[misc]
        for name in ("id_ed25519", "id_ed25519.pub")
        for kind, damage in DAMAGE.items()
        # A mode is mended where nothing else is wrong.
        if (name, kind) != ("id_ed25519", "others may write")
    },
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=as_root if "others'" in kind else ()) for kind in PAIRS]
)
def test_what_is_no_pair_is_as_if_there_were_none(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state(tmp_path).ensure_keys()
    PAIRS[kind](state(tmp_path))
    again = state(tmp_path)
    assert again.ensure_keys() is True
    assert public_half(again.identity.read_bytes()) == " ".join(again.public_key.split()[:2])
    assert again.public_key.endswith(" labrun-lab")
    assert all(BEGUN_ANEW.fullmatch(record.getMessage()) for record in caplog.records)
    assert again.ensure_keys() is False


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o606, 0o400, 0o777])
def test_a_key_s_mode_is_mended_and_said(mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state(tmp_path).ensure_keys()
    state(tmp_path).identity.chmod(mode)
    path = state(tmp_path).identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} had the mode {mode:04o}: it is 0600 again"
    ]
    assert state(tmp_path).ensure_keys() is False


@pytest.mark.parametrize("text", ["ssh-ed25519 AAAA x'; reboot #", "ssh-ed25519 AAAA\nssh-rsa BBBB", ""])
def test_a_public_key_is_one_line_of_harmless_words(text: str, tmp_path: Path) -> None:
    (state(tmp_path).root / "id_ed25519.pub").write_text(text)
    with pytest.raises(LabrunError, match="the lab has no key in"):
        _ = state(tmp_path).public_key


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA", "garbage", "", "ssh-rsa " + "A" * 80])
def test_what_a_guest_says_in_a_key_s_place_does_not_get_into_known_hosts(key: str, tmp_path: Path) -> None:
    with pytest.raises(LabrunError, match="is not a host key"):
        state(tmp_path).remember_host_keys({"one": ([], key)})
    assert not state(tmp_path).known_hosts.exists()


# Folders


def _of_a_group(base: Path) -> None:
    os.chown(base, 0, SOMEBODY)
    base.chmod(0o770)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "other's": (lambda base: shutil.chown(base, SOMEBODY), "{base} belongs to uid 12345"),
    "other's parent": (lambda base: shutil.chown(base.parent, SOMEBODY), "{parent} belongs to uid 12345"),
    "everybody": (lambda base: base.chmod(0o777), "everyone can write to {base}"),
    "everybody, the parent": (lambda base: base.parent.chmod(0o733), "everyone can write to {parent}"),
    "a group": (_of_a_group, "the group 12345 can write to {base}"),
}
WAYS = ("--state-dir", "LABRUN_STATE_DIR", "XDG_STATE_HOME", "HOME")


@as_root
@pytest.mark.parametrize(
    ("kind", "way"), [*((kind, WAYS[0]) for kind in SPOILT), *(("other's", way) for way in WAYS[1:])]
)
def test_a_folder_that_others_prepared_is_refused(kind: str, way: str, tmp_path: Path) -> None:
    spoil, why = SPOILT[kind]
    (tmp_path / "lab.yaml").write_text("name: lab\nhosts: {a: {address: 192.0.2.1}}\n")
    top = tmp_path / "home"
    base = {"XDG_STATE_HOME": top / "labrun", "HOME": top / ".local/state/labrun"}.get(way, top / "state")
    base.mkdir(parents=True, mode=0o700)
    LabState.open("lab", "none:", base).ensure_keys()
    spoil(base)
    words = ["--state-dir", str(base)] if way == "--state-dir" else []
    value = base if way == "LABRUN_STATE_DIR" else top
    env = {} if words else {"XDG_STATE_HOME": "", way: str(value)}
    reason = why.format(base=base, parent=base.parent)
    for command in ("status", "history", "configure", "drift"):
        done = run_labrun(*words, command, cwd=tmp_path, env=env)
        assert done.returncode == 1, (command, done.stderr)
        assert f": {reason}\nhint: --state-dir chooses another\n" in done.stderr, command
        assert "error: cannot use the state directory " in done.stderr


def test_sticky_folders_and_links_of_one_s_own_are_fine(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(shared / "mine")
    assert distrust(tmp_path / "link" / "not" / "there" / "yet") is None
    assert distrust(tmp_path / "link" / ".." / "mine") is None


@as_root
def test_a_link_of_somebody_else_s_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    os.lchown(tmp_path / "link", SOMEBODY, SOMEBODY)
    assert distrust(tmp_path / "link" / "state") == f"{tmp_path}/link belongs to uid {SOMEBODY}"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "is a loop of symbolic links" in (distrust(tmp_path / "a") or "")


# The reader itself


def test_more_than_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, largest=5) == b"12345"
    with pytest.raises(DamagedFileError, match="it is larger than 4 bytes"):
        read_file(path, largest=4)


def test_what_came_in_the_place_of_a_damaged_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def parse(_data: bytes) -> None:
        raise RecursionError

    assert read_or_reset(path, parse, None) is None
    assert len(list(tmp_path.glob("file.damaged-*"))) == 1
    path.write_bytes(b"y")
    assert read_or_reset(path, parse, None) is None
    assert len(list(tmp_path.glob("file.damaged-*"))) == 2


def test_a_file_that_only_cannot_be_read_now_stays(tmp_path: Path) -> None:
    known(tmp_path)
    path = state(tmp_path).known_hosts
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(3)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(held), limit[1]))
        with pytest.raises(LabrunError, match="it cannot be read: Too many open files"):
            LabState(path.parent, "lab").host_keys()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for each in held:
            os.close(each)
    assert list(state(tmp_path).host_keys()) == ["one"]


@pytest.mark.parametrize("text", [DEEP, b'{"a":' * 50_000, b"1" * 5000, b"\xff", b""])
def test_json_is_a_value_or_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of every kind
        parse_json(text)
    assert parse_json(json.dumps({"a": 1})) == {"a": 1}


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE outcomes SET status = 'splendid'", ["show", "last"]),
        ("UPDATE outcomes SET seconds = 'long'", ["show", "last"]),
        ("UPDATE outcomes SET why = x'ff00'", ["show", "last"]),
        ("UPDATE items SET name = x'ff'", ["show", "last"]),
        ("UPDATE evidence SET content = x'00'", ["show", "last", "--evidence"]),
        ("UPDATE evidence SET content = 7", ["show", "last", "--evidence"]),
    ],
)
def test_results_of_wrong_types_are_said(statement: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: lab\nhosts: {a: {address: 192.0.2.1}}\n")
    recording = Recording()
    recording.begin(invocation(tmp_path / "state"), "lab", None)
    recording.attach("a", "what it showed")
    recording.finish(Report("lab", [Outcome("a", "exec", "true", Status.OK)]), 1.0)
    path = history_path(invocation(tmp_path / "state"), "lab")
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    done = run_labrun("--history", str(path), *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: the history {path} is damaged: it is not what labrun wrote\n")
