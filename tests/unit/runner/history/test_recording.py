"""Runs on their way into the history: whatever goes wrong with it, the command does its work."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest

from labrun.errors import LabrunError
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.history import writing
from labrun.runner.history.paths import history_path, lab_name
from labrun.runner.history.reading import History, Run, open_history
from labrun.runner.main import run
from tests.unit.command_line import offer, run_labrun
from tests.unit.past_runs import remember

ROWS = (
    Outcome("a", "path", "a -> b", Status.FAILED, "1.1.1.1", "*", "r: off", "-x\n+y", 1.5),
    Outcome("b", "route", "default", Status.OK, "via 1.1.1.1", "via 1.1.1.1"),
)


def of(path: Path, lab: str = "lab") -> History:
    history = open_history(path, lab)
    assert history is not None
    return history


def only(path: Path) -> Run:
    (found,) = of(path).runs()
    return found


def works_on(lab: str = "lab", report: Report | None = None) -> Callable[..., Report]:
    """Return the body of a command that works on a lab, as `open_session` begins it."""

    def body(invocation: Invocation, **_own: object) -> Report:
        invocation.recording.begin(invocation, lab, "c0ffee")
        invocation.recording.uri = "lxc:///system"
        return report if report is not None else Report(lab, ROWS)

    return body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "lab.sqlite"


@pytest.fixture
def state(tmp_path: Path) -> list[str]:
    return ["--state-dir", str(tmp_path)]


def test_a_run_is_recorded_as_it_was(monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str]) -> None:
    params = (
        click.option("--dry-run", is_flag=True),
        click.option("--only"),
        click.option("--prune", is_flag=True),
        click.option("--patience", default=60, help="Not given, so not part of what was typed."),
        click.argument("words", nargs=-1),
    )
    offer(monkeypatch, works_on(), *params, recorded=True)
    assert run([*state, "demo", "--dry-run", "--only", "a b", "x", "--hosts", "a,b"]) == 1
    found = only(path)
    assert (found.lab, found.command, found.digest, found.uri) == ("lab", "demo", "c0ffee", "lxc:///system")
    assert found.arguments in (
        "--hosts a,b --dry-run --only 'a b' x",
        "--hosts a,b x --only 'a b' --dry-run",
    )
    assert (found.exit_code, found.state, found.error) == (1, "finished", None)
    assert found.counts == {"failed": 1, "ok": 1}
    assert of(path).outcomes(found) == ROWS
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_loop_records_each_of_its_runs(
    monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str]
) -> None:
    def body(invocation: Invocation) -> Report:
        for _ in range(2):
            each = invocation.again()
            each.recording.finish(works_on()(each), each.seconds)
        return Report("lab")

    offer(monkeypatch, body, recorded=True)
    assert run([*state, "demo"]) == 0
    assert [found.counts for found in of(path).runs()] == [{"failed": 1, "ok": 1}] * 2
    assert len({found.run for found in of(path).runs()}) == 2


def test_another_file_is_used_where_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: Path, state: list[str]
) -> None:
    offer(monkeypatch, works_on(), recorded=True)
    assert run([*state, "demo", "--history", str(tmp_path / "mine.db")]) == 1
    monkeypatch.setenv("LABRUN_HISTORY", str(tmp_path / "mine.db"))
    assert run([*state, "demo"]) == 1
    assert len(of(tmp_path / "mine.db").runs()) == 2
    assert not path.exists()


@pytest.mark.parametrize("aside", ["explain", "offline", "pair", "hint"])
def test_what_only_explains_is_no_run(
    monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str], aside: str
) -> None:
    def body(invocation: Invocation, **_own: object) -> Report:
        assert not invocation.recording.is_kept
        return Report()

    offer(monkeypatch, body, click.option(f"--{aside}", is_flag=True), recorded=True)
    assert run([*state, "demo", f"--{aside}"]) == 0
    assert not path.exists()


def test_how_a_run_ended_early(monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str]) -> None:
    def failing(invocation: Invocation) -> Report:
        works_on()(invocation)
        raise LabrunError("no such thing", host="a", step="ssh")

    def interrupted(invocation: Invocation) -> Report:
        works_on()(invocation)
        raise KeyboardInterrupt

    def broken(invocation: Invocation) -> Report:
        works_on()(invocation)
        raise ValueError("odd")

    for body in (failing, interrupted, broken):
        offer(monkeypatch, body, recorded=True)
        run([*state, "demo"])
    last, middle, first = of(path).runs()
    assert (first.exit_code, first.state, first.error) == (1, "finished", "a: ssh: no such thing")
    assert (middle.exit_code, middle.state, middle.error) == (130, "interrupted", None)
    assert (last.exit_code, last.error) == (1, "unexpected ValueError: odd")


FULL = "database or disk is full"
BEGUN = """
    import os, sys
    from pathlib import Path
    from labrun.outcome import Outcome, Status
    from labrun.runner.history.reading import open_history
    from labrun.runner.history.recording import Recording
    from labrun.runner.cli.invocation import Invocation
    from labrun.runner.cli.report import Report

    if sys.argv[2:] == ["nobody"] and os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    invocation = Invocation("verify", history=Path(sys.argv[1]))
    recording = Recording()
    recording.begin(invocation, "lab", None)
"""


def python(code: str, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(BEGUN) + textwrap.dedent(code), *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_crash_in_the_middle_leaves_a_run_that_is_not_finished(path: Path) -> None:
    process = python("print('begun', flush=True); sys.stdin.read()", str(path))
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert only(path).state == "running"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert (only(path).state, only(path).exit_code) == ("unfinished", None)


def test_writers_at_once_lose_nothing(path: Path) -> None:
    code = """
    for _ in range(10):
        recording.finish(Report("lab", [Outcome("a", "path", str(n), Status.OK) for n in range(50)]), 1.0)
        recording.begin(invocation, "lab", None)
    """
    writers = [python(code, str(path)) for _ in range(4)]
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert said == [""] * 4
    states = [found.state for found in of(path).runs()]
    assert (states.count("finished"), states.count("unfinished")) == (40, 4)
    assert all(len(of(path).outcomes(found)) == 50 for found in of(path).runs() if found.exit_code == 0)


def test_a_writer_that_holds_the_file_delays_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("labrun.runner.history.store.BUSY_SECONDS", 0.05)
    remember(path)
    holder = python(
        "import sqlite3; held = sqlite3.connect(sys.argv[1]); held.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); sys.stdin.read()",
        str(path),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    offer(monkeypatch, works_on(), recorded=True)
    assert run([*state, "demo"]) == 1
    captured = capsys.readouterr()
    assert (
        captured.err
        == f"this run is not recorded: the history {path} cannot be written: database is locked\n"
    )
    assert "a -> b" in captured.out or "-> b" in captured.out
    holder.communicate("", timeout=60)


@pytest.mark.parametrize("content", [b"not a database at all\n" * 300, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_history_is_set_aside_and_a_new_one_begins(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    state: list[str],
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    offer(monkeypatch, works_on(), recorded=True)
    assert run([*state, "demo"]) == 1
    (aside,) = path.parent.glob("lab.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert (
        capsys.readouterr().err
        == f"the history {path} was damaged: it was renamed to {aside.name}, and a new one is started\n"
    )
    assert of(path).outcomes(only(path)) == ROWS
    assert run([*state, "demo"]) == 1
    assert capsys.readouterr().err == ""
    assert len(list(path.parent.glob("*damaged*"))) == 1


def test_damage_in_the_middle_of_a_run_costs_the_runs_before_and_not_this_one(
    monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(invocation: Invocation) -> Report:
        report = works_on()(invocation)
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
        return report

    remember(path)
    offer(monkeypatch, body, recorded=True)
    assert run([*state, "demo"]) == 1
    assert "was damaged" in capsys.readouterr().err
    assert of(path).outcomes(only(path)) == ROWS


def test_of_many_who_find_it_damaged_one_sets_it_aside(path: Path) -> None:
    remember(path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    writers = [python("recording.finish(Report('lab'), 1.0)", str(path)) for _ in range(4)]
    said = [line for writer in writers for line in writer.communicate(timeout=120)[1].splitlines()]
    assert ["was damaged" in line for line in said] == [True]
    assert [found.state for found in of(path).runs()] == ["finished"] * 4
    # Its log goes with it, where there is one.
    assert len(list(path.parent.glob("lab.sqlite.damaged-*Z"))) == 1


def test_a_file_of_somebody_else_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sqlite3

    text, database = tmp_path / "lab.yaml", tmp_path / "places.sqlite"
    text.write_text("name: lab\n", encoding="utf-8")
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = database.read_bytes()
    offer(monkeypatch, works_on(), recorded=True)
    assert run(["demo", "--history", str(text)]) == 1
    assert run(["demo", "--history", str(database)]) == 1
    assert run(["demo", "--history", "/dev/null"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"this run is not recorded: {text} is not a history written by labrun",
        f"this run is not recorded: {database} is a database of another program",
        "this run is not recorded: /dev/null is not a history: not a regular file",
    ]
    assert (text.read_text(encoding="utf-8"), database.read_bytes()) == ("name: lab\n", before)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["lab.yaml", "places.sqlite"]


@pytest.mark.parametrize("what", ["file", "directory"])
def test_where_nothing_can_be_written_the_command_does_its_work(what: str) -> None:
    # pytest's own directories let nobody else in.
    with TemporaryDirectory() as directory:
        place = Path(directory, "place")
        path = place / "lab.sqlite"
        remember(path)
        Path(directory).chmod(0o755)
        path.chmod(0o444)
        place.chmod(0o555 if what == "directory" else 0o777)
        code = "recording.finish(Report('lab'), 1.0); print('done')"
        out, err = python(code, str(path), "nobody").communicate(timeout=60)
        assert out == "done\n", err
        assert err.startswith(f"this run is not recorded: the history {path} cannot be written: ")
        assert err.count("\n") == 1
        # What is there can still be read by whoever cannot write it.
        code = "print(len(open_history(Path(sys.argv[1]), 'lab').runs()))"
        assert python(code, str(path), "nobody").communicate(timeout=60)[0] == "1\n"
        path.chmod(0)
        code = "from labrun.runner.history import reading; print(reading.readable_history(invocation, 'lab'))"
        out, err = python(code, str(path), "nobody").communicate(timeout=60)
        assert (out, err.splitlines()[-1]) == (
            "None\n",
            f"the history {path} cannot be read: Permission denied",
        )


def test_a_full_disk_costs_the_record_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "lab.sqlite"
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    rows = [Outcome("a", "path", str(n), Status.OK, why="w" * 400) for n in range(2000)]
    recording.finish(Report("lab", rows), 1.0)
    print("done")
    """
    out, err = python(code, str(path)).communicate(timeout=60)
    assert out == "done\n"
    assert err.startswith(f"this run is not recorded: the history {path} cannot be written: ")
    assert err.count("\n") == 1
    # Not half of it: the run has not finished for the history.
    assert (only(path).state, of(path).outcomes(only(path))) == ("unfinished", ())
    remember(path, ROWS)
    assert len(of(path).runs()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_without_room_from_the_start(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=64k none {disk} && exec {sys.executable} -c "$1" {disk}/lab.sqlite'
    code = textwrap.dedent(BEGUN) + "recording.finish(Report('lab'), 1.0); print('done')"
    command = ["unshare", "-m", "sh", "-c", script, "sh", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.stdout == "done\n"
    assert (
        done.stderr == f"this run is not recorded: the history {disk}/lab.sqlite cannot be written: {FULL}\n"
    )


def test_output_is_kept_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str]
) -> None:
    room: list[bool] = []

    def body(invocation: Invocation, **_own: object) -> Report:
        report = works_on()(invocation)
        for host in ("a", "b", "c"):
            room.append(invocation.recording.has_room)
            invocation.recording.attach(host, "x" * 6 if room[-1] else None)
        return report

    monkeypatch.setattr(writing, "RUN_BYTES", 10)
    offer(monkeypatch, body, recorded=True)
    run([*state, "demo"])
    assert room == [True, True, False]
    with sqlite3.connect(path) as connection:
        (packed,) = connection.execute("SELECT content FROM evidence").fetchone()
    assert json.loads(zlib.decompress(packed)) == {
        "a": "x" * 6,
        "b": "x" * 4 + "\n(cut off after 4 characters)",
        "c": "\n(cut off after 0 characters)",
    }


def test_secrets_never_reach_the_file(monkeypatch: pytest.MonkeyPatch, path: Path, state: list[str]) -> None:
    def body(invocation: Invocation, **_own: object) -> Report:
        report = works_on()(invocation)
        invocation.recording.attach("a", "wifi-sec.psk:hunter2\n")
        return report

    row = Outcome(
        "a", "exec", "x --password hunter2", Status.OK, "psk=hunter2", "token: hunter2", "u://n:hunter2@h"
    )
    words = click.argument("words", nargs=-1)
    offer(monkeypatch, works_on(report=Report("lab", [row])), words, recorded=True)
    assert run([*state, "demo", "login password=hunter2"]) == 0
    offer(monkeypatch, body, words, recorded=True)
    assert run([*state, "demo"]) == 1
    files = b"".join(found.read_bytes() for found in path.parent.iterdir())
    assert b"hunter2" not in files
    last, first = of(path).runs()
    assert first.arguments == "'login password=<secret>'"
    assert of(path).evidence(last) == {"a": "wifi-sec.psk:<secret>\n"}


def test_text_that_sqlite_cannot_hold_is_spelled_out(path: Path) -> None:
    remember(path, [Outcome("a", "exec", "x", Status.OK, actual="\udcff\0")])
    assert of(path).outcomes(only(path))[0].actual == "\\udcff\0"


LAB = """\
name: office
hosts:
  a: {address: 127.0.0.1, ssh: {user: nobody, port: 1}}
"""


def test_a_real_command_is_recorded_and_status_tells(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    done = run_labrun("--state-dir", "state", "exec", "true", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    found = only_of(tmp_path / "state" / "history" / "office.sqlite", "office")
    assert (found.command, found.arguments, found.exit_code) == ("exec", "true", 4)
    assert found.counts == {"unreachable": 1}
    assert len(found.digest or "") == 64
    status = run_labrun("--state-dir", "state", "status", cwd=tmp_path)
    assert re.search(r"^last exec: \d\d:\d\d, \d+ (s|min) ago, 1 unreachable$", status.stdout, re.M)


def test_a_hypervisor_that_does_not_answer_is_a_run_that_failed(tmp_path: Path) -> None:
    uri = "qemu+unix:///system?socket=/nowhere"
    text = LAB.replace("office\n", "gone\n").split("hosts:")[0]
    text += "networks: {n: {mode: isolated, cidr: 10.64.0.0/24}}\nhosts: {a: {networks: {n: 10.64.0.9}}}\n"
    (tmp_path / "lab.yaml").write_text(text, encoding="utf-8")
    env = {"LABRUN_HYPERVISOR": uri}
    assert run_labrun("--state-dir", "state", "plan", cwd=tmp_path, env=env).returncode == 5
    assert not (tmp_path / "state").exists(), "a plan alone is nothing to remember of a lab that is new"
    assert run_labrun("--state-dir", "state", "verify", cwd=tmp_path, env=env).returncode == 5
    found = only_of(tmp_path / "state" / "history" / "gone.sqlite", "gone")
    assert (found.command, found.exit_code, found.state) == ("verify", 5, "finished")
    assert (found.error or "").startswith(f"libvirt: cannot open {uri}: ")


def only_of(path: Path, lab: str) -> Run:
    (found,) = of(path, lab).runs()
    return found


def test_an_unknown_host_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    assert run_labrun("--state-dir", "state", "exec", "--hosts", "b", "true", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "state" / "history").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name: a-lab\n", "a-lab"),
        ("networks: {name: x, n: {name: y}}\nhosts: [name, {name: z}]\nname: a-lab\n", "a-lab"),
        ("hosts:\n  name: {x: [name]}\nname: 'a-lab' # why\nhosts: [\n", "a-lab"),
        ("? [name]\n: x\nname: a-lab\n", "a-lab"),
    ],
)
def test_the_name_is_found_in_a_file_that_is_not_valid(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    assert lab_name(Invocation("history", lab=str(path))) == name


@pytest.mark.parametrize(
    "text", ["", "hosts: {name: x}\n", "name: No\n", "name: {a: b}\n", "[name, x]\n", "{"]
)
def test_a_file_without_a_name_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabrunError, match="does not name the lab"):
        lab_name(Invocation("history", lab=str(path)))


def test_a_lab_has_its_history_beside_the_directories_that_go(tmp_path: Path) -> None:
    assert history_path(Invocation("up", state_dir=tmp_path), "x") == tmp_path / "history" / "x.sqlite"
    assert history_path(Invocation("up", state_dir=tmp_path, history=Path("f")), "x") == Path("f")
