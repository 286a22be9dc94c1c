"""Commands that only read work without a place to write: a read-only state directory, no home at all.

Each is compared with the same command where everything can be written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.forked import run_forked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

# An existing machine at a port where nobody listens, and one that would have to be made.
LABS = {
    "existing": """\
name: read-only-existing
networks: {n: {cidr: 10.9.1.0/24}}
hosts: {a: {address: 127.0.0.1, ssh: {port: 1}, networks: {n: 10.9.1.5}}}
""",
    "new": """\
name: read-only-new
hypervisor: test:///default
networks: {n: {cidr: 10.9.1.0/24}}
hosts: {a: {networks: {n: 10.9.1.5}}}
""",
}
# The lines that tell of progress, and how long something took.
_PROGRESS = re.compile(r"^ +[0-9.]+ s  .*\n", re.MULTILINE)
_SECONDS = re.compile(r"in [0-9.]+ s\b|[0-9]{4}-[0-9T:-]+Z(-[0-9a-f]{4})?", re.MULTILINE)
RECORDED = ("plan", "verify", "stop", "-y down", "drift")
EXISTING_ONLY = ("verify", "drift", "stop")
READING = ("status", "inventory --format json", "graph --format ascii")
NO_HOME = "this run is not recorded: this user has no home directory to keep state in\n"


def labrun(
    directory: Path, *words: str, inside: tuple[str, str | int] | None = None, home: bool = True
) -> tuple[int, str, str]:
    """Return exit code, output and messages of a command, without what differs from run to run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LABRUN_", "XDG_"))}
    if not home:
        env.pop("HOME", None)
    words = ("--lab", "lab.yaml", *words)
    done = run_forked(words, cwd=directory, env=env, stdin="", timeout=60, inside=inside)
    return (
        done.returncode,
        _SECONDS.sub("", done.stdout),
        "".join(
            line for line in _PROGRESS.sub("", done.stderr).splitlines(True) if "GLib" not in line
        ).lstrip(),
    )


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LABS[request.param])
    # Of a lab without a state directory, a plan is not recorded.
    (tmp_path / "S" / f"read-only-{request.param}-00000000").mkdir(parents=True)
    return tmp_path


def kinds(lab: Path, commands: Sequence[str]) -> list[str]:
    existing = "existing" in (lab / "lab.yaml").read_text()
    return [command for command in commands if existing or command not in EXISTING_ONLY]


def test_a_read_only_state_directory_serves_whoever_reads(lab: Path) -> None:
    for command in kinds(lab, (*READING, *RECORDED)):
        usual = labrun(lab, "--state-dir", "S", *command.split())
        found = labrun(lab, "--state-dir", "S", *command.split(), inside=("read_only", "S"))
        name = "read-only-existing" if "existing" in (lab / "lab.yaml").read_text() else "read-only-new"
        said = (
            f"this run is not recorded: the history S/history/{name}.sqlite cannot be written: "
            "Read-only file system\n"
        )
        expected = said + usual[2] if command in RECORDED else usual[2]
        assert (command, *found[:2]) == (command, *usual[:2])
        assert sorted(found[2].splitlines()) == sorted(expected.splitlines())


def test_a_user_without_a_home_can_read_too(lab: Path) -> None:
    for command in kinds(lab, (*READING, *RECORDED)):
        usual = labrun(lab, "--state-dir", "S", *command.split())
        found = labrun(lab, *command.split(), inside=("unknown_user", 12345), home=False)
        assert found[0] == usual[0], (command, found)
        assert "unexpected" not in found[2]
        assert (NO_HOME in found[2]) == (command in RECORDED and command != "plan")


def test_what_has_to_write_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LABS["existing"])
    (tmp_path / "S").mkdir()
    code, _, said = labrun(tmp_path, "--state-dir", "S/new", "break", inside=("read_only", "S"))
    assert code == 1
    assert "error: cannot use the state directory S/new/read-only-existing-" in said
    assert said.endswith(": Read-only file system\nhint: --state-dir chooses another\n")


HOLDER = """\
import sys
from pathlib import Path
from labrun.errors import LockedError
from labrun.runner.engine.lock import lab_lock
try:
    with lab_lock(Path(sys.argv[1]), "one"), lab_lock(Path(sys.argv[1]), "two"):
        print("both")
except LockedError:
    print("one")
"""


@pytest.mark.parametrize("there", ["S/lab/lock", "S/lab-without/lock", "S/gone/lock", "/dev/null/lab/lock"])
def test_a_lab_is_locked_where_no_lock_can_be_written(there: str, tmp_path: Path) -> None:
    (tmp_path / "S" / "lab").mkdir(parents=True)
    (tmp_path / "S" / "lab-without").mkdir()
    (tmp_path / "S" / "lab" / "lock").touch(0o600)
    read_only = 'mount --bind S S && mount -o remount,ro,bind S && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", read_only, "sh", sys.executable, "-c", HOLDER, there]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert (done.stdout, done.stderr) == ("one\n", "")
