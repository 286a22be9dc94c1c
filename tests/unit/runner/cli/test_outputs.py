"""Where results are written: every option that names a place, with everything that can have that name."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from labrun.errors import LabrunError
from labrun.runner.cli.outputs import OutputFile, write_output
from labrun.runner.main import VERBS, cli
from tests.shares import of_ci
from tests.unit.command_line import run_labrun

LAB = "name: demo\nhosts: {a: {address: 127.0.0.1, ssh: {port: 1}}}\n"
SOMEBODY = 12345
# Words before the file, and how what is written begins.
OPTIONS: dict[str, tuple[list[str], str]] = {
    "verify --junit": (["verify", "--offline", "--junit"], "<?xml"),
    "verify --markdown": (["verify", "--offline", "--markdown"], "## "),
    "drift --metrics": (["drift", "--metrics"], "# HELP labrun_"),
    "report --html": (["report", "--html"], "<!DOCTYPE html>"),
    "schema --output": (["schema", "--output"], "{\n"),
    "graph --output": (["graph", "--format", "mermaid", "--output"], "%% demo"),
    "history --export": (["history", "--export"], '{"run": '),
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices and give files away")


def test_every_option_that_writes_somewhere_is_here_and_of_the_one_type() -> None:
    found = set()
    ctx = click.Context(cli)
    for name in VERBS:
        command = cli.get_command(ctx, name)
        assert command is not None
        for param in command.params:
            if isinstance(param.type, OutputFile):
                found.add(f"{name} {param.opts[0]}")
    # A schedule hands it on; packets need a lab that runs (tests/e2e/test_links.py).
    assert found - {"schedule --metrics", "capture --output"} == set(OPTIONS)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with a run in its history, so that there is one to export."""
    place = tmp_path_factory.mktemp("past")
    (place / "lab.yaml").write_text(LAB)
    assert run(place, ["exec", "true"]).returncode == 4
    return place


@pytest.fixture
def place(past: Path, tmp_path: Path) -> Path:
    return shutil.copytree(past, tmp_path / "place")


def run(place: Path, words: list[str], name: str | None = None) -> subprocess.CompletedProcess[str]:
    return run_labrun("--state-dir", "state", *words, *([name] if name else []), cwd=place)


def usual(option: str) -> int:
    return 4 if option == "drift --metrics" else 0


@pytest.mark.parametrize("option", OPTIONS)
def test_a_dash_is_standard_output_in_the_table_s_place(option: str, place: Path) -> None:
    words, begins = OPTIONS[option]
    done = run(place, words, "-")
    assert done.returncode == usual(option), done.stderr
    assert done.stdout.startswith(begins)
    assert "127.0.0.1  " not in done.stdout
    assert not (place / "-").exists()


@pytest.mark.parametrize("option", ["verify --junit", "drift --metrics", "history --export"])
def test_two_documents_cannot_share_standard_output(option: str, place: Path) -> None:
    words, _ = OPTIONS[option]
    done = run(place, ["--json", *words], "-")
    assert done.returncode == 2
    reason = f"{option.split()[1]} - and --json both write to stdout"
    assert json.loads(done.stdout)["error"] == reason
    assert done.stderr == f"error: {reason}\nhint: name a file\n"
    both = run(place, ["verify", "--offline", "--junit", "-", "--markdown", "-"])
    assert (both.returncode, both.stdout) == (2, "")
    assert "both write to stdout" in both.stderr


KINDS = ("link", "new", "file", "dangling link", "hard link", "somebody else's")
# One writer does it for all options: one kind for each of them, the others for one.
EACH = [*((option, KINDS[0]) for option in OPTIONS), *(("graph --output", kind) for kind in KINDS[1:])]


@pytest.mark.parametrize(("option", "kind"), EACH)
def test_a_file_keeps_its_kind_its_owner_and_its_names(option: str, kind: str, place: Path) -> None:
    if kind == "somebody else's" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    words, begins = OPTIONS[option]
    path, other = place / "out", place / "other"
    if kind != "new" and "link" not in kind:
        path.write_text("old" * 100_000)
    if kind == "link":
        other.write_text("old" * 100_000)
    if "link" in kind and kind != "hard link":
        path.symlink_to("other")
    if kind == "hard link":
        path.write_text("old" * 100_000)
        other.hardlink_to(path)
    if kind == "somebody else's":
        os.chown(path, SOMEBODY, SOMEBODY)
    done = run(place, words, "out")
    assert done.returncode == usual(option), done.stderr
    text = path.read_text()
    assert text.startswith(begins)
    assert "old" * 3 not in text
    assert path.is_symlink() == (kind in ("link", "dangling link"))
    if "link" in kind:
        assert other.read_text() == text
    if kind == "somebody else's":
        assert path.stat().st_uid == SOMEBODY
    assert not [each for each in place.iterdir() if each.name.endswith(".tmp")]


def device(path: Path, minor: int) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    try:
        path.read_bytes() if minor == 3 else None
    except OSError:
        pytest.skip("no devices on this file system")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "full device": (lambda path: device(path, 7), "No space left on device"),
    "FIFO nobody reads": (os.mkfifo, "no process reads this FIFO"),
    "link of somebody else's": (
        lambda path: (path.symlink_to("victim"), os.lchown(path, SOMEBODY, SOMEBODY))[0],  # type: ignore[func-returns-value]
        "it is a link that belongs to uid 12345",
    ),
}


@as_root
@pytest.mark.parametrize(
    ("option", "kind"),
    [*((option, "full device") for option in OPTIONS), *(("history --export", kind) for kind in REFUSED)],
)
def test_what_cannot_be_written_through_is_refused_and_stays(option: str, kind: str, place: Path) -> None:
    words, _ = OPTIONS[option]
    make, reason = REFUSED[kind]
    path = place / "out"
    make(path)
    (place / "victim").write_text("kept")
    before = path.lstat()
    done = run(place, words, "out")
    # Nobody who is told fails a drift.
    assert done.returncode == (4 if option == "drift --metrics" else 1)
    assert f": {reason}\n" in done.stderr
    assert "defect" not in done.stderr
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert (place / "victim").read_text() == "kept"


@as_root
@pytest.mark.parametrize(
    ("option", "linked"), [*((option, True) for option in OPTIONS), ("graph --output", False)]
)
def test_a_device_is_written_through(option: str, linked: bool, place: Path) -> None:
    words, _ = OPTIONS[option]
    device(place / "null", 3)
    (place / "link").symlink_to("null")
    done = run(place, words, "link" if linked else "null")
    assert done.returncode == usual(option), done.stderr
    assert stat.S_ISCHR((place / "null").lstat().st_mode)
    assert (place / "link").is_symlink()


@pytest.mark.parametrize("option", ["graph --output", "history --export", "drift --metrics"])
def test_a_fifo_is_written_through(option: str, place: Path) -> None:
    words, begins = OPTIONS[option]
    os.mkfifo(place / "out")
    got: list[str] = []
    reading = os.open(place / "out", os.O_RDONLY | os.O_NONBLOCK)  # so that there is a reader from now on
    os.set_blocking(reading, True)

    def read() -> None:
        with os.fdopen(reading) as file:
            # Until the writer has come there is nothing, and no end either.
            while not got or got[-1]:
                chunk = file.read()
                if chunk or got:
                    got.append(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    done = run(place, words, "out")
    reader.join(timeout=60)
    assert done.returncode == usual(option), done.stderr
    assert "".join(got).startswith(begins)
    assert stat.S_ISFIFO((place / "out").lstat().st_mode)


@pytest.mark.parametrize("to_file", of_ci([False, True], [True]))
@pytest.mark.parametrize("option", ["verify --junit", "drift --metrics"])
def test_dev_stdout_is_the_shell_s(option: str, to_file: bool, place: Path) -> None:
    """By a link of the test's own: no mistake may cost the machine its /dev/stdout."""
    words, begins = OPTIONS[option]
    command = [sys.executable, "-m", "labrun", "--state-dir", "state", *words, "/proc/self/fd/1"]
    if to_file:
        with (place / "out").open("w") as file:
            file.write("from before\n")
            file.flush()
            subprocess.run(command, cwd=place, stdout=file, stderr=subprocess.PIPE, check=False)
        text = (place / "out").read_text()
        assert text.startswith("from before\n")
    else:
        text = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False).stdout
    assert begins in text


def test_an_export_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def parts() -> object:
        yield "half"
        raise LabrunError("the history is damaged")

    with pytest.raises(LabrunError, match="the history is damaged"):
        write_output(path, parts())  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_stays_and_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_output(tmp_path / "new", "y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    write_output(tmp_path / "new", "z", mode=0o644)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


@as_root
def test_disks_and_sockets_are_never_written_to(tmp_path: Path) -> None:
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    with pytest.raises(LabrunError, match="not a file, FIFO or character device"):
        write_output(tmp_path / "disk", "x")


def test_an_inventory_goes_to_standard_output_or_into_a_directory(place: Path) -> None:
    done = run(place, ["inventory", "--format", "nornir", "--output", "-"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# hosts.yaml\n")
    assert not (place / "-").exists()
    (place / "dir").mkdir()
    os.mkfifo(place / "dir" / "hosts.yaml")
    done = run(place, ["inventory", "--format", "nornir", "--output", "dir"])
    assert done.returncode == 1
    assert done.stderr == "error: cannot write dir/hosts.yaml: no process reads this FIFO\n"


def test_a_schedule_has_no_standard_output(place: Path) -> None:
    done = run(place, ["schedule", "install", "--cron", "--every", "1h", "--metrics", "-"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: --metrics: nothing reads the stdout of a scheduled run\nhint: name a file\n"
    )
