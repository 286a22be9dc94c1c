"""A state directory on a full disk: named before anything is made, and never a defect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labrun.state import LabState
from tests import places
from tests.shares import every

ROOT = places.ROOT
LAB = "name: demo\nhosts: {a: {address: 127.0.0.1, ssh: {port: 1}}}\n"
FULL = """
mount -t tmpfs -o size=128k none "$1" || exit 99
mkdir -p "$1/demo" "$1/drift"
[ -z "$2" ] || "$3" -c "$2" "$1" || exit 98
head -c 1000000 /dev/zero >"$1/filler" 2>/dev/null
shift 3
exec "$@"
"""
SETUP = (
    "import sys; from pathlib import Path; from labrun.state import LabState;"
    "LabState.open('demo', 'x', Path(sys.argv[1]))"
)


def on_a_full_disk(state: Path, setup: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the words where the directory is a file system without any room, in namespaces of their own."""
    state.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("LABRUN_")}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", str(state), setup, sys.executable, *words],
        cwd=state.parent,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("nothing can be mounted here")
    assert done.returncode != 98, done.stderr
    return done


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@needs_mounts
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("check_room()", "cannot write to the state directory {root}: No space left on device"),
        ("ensure_keys()", "cannot write {root}/id_ed25519: No space left on device"),
        (
            "remember_host_keys({'a': ([], make_host_key('a').public)})",
            "cannot write {root}/known_hosts: No space left on device",
        ),
    ],
)
def test_what_cannot_be_written_is_named(call: str, reason: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    script = (
        "import sys; from pathlib import Path; from labrun.errors import LabrunError\n"
        "from labrun.key_pairs import make_host_key\nfrom labrun.state import LabState\n"
        f"try: LabState.open('demo', 'x', Path(sys.argv[1])).{call}\n"
        "except LabrunError as error: print(error.reason); print(error.hint)"
    )
    done = on_a_full_disk(state, SETUP, sys.executable, "-c", script, str(state))
    root = LabState.open("demo", "x", tmp_path / "elsewhere").root.name
    assert done.stdout == f"{reason.format(root=state / root)}\n--state-dir chooses another\n", done.stderr


@needs_mounts
@pytest.mark.parametrize("call", ["forget_hosts(['a'])", "remember_addresses({'a': ['10.0.0.2']})"])
def test_what_is_only_noted_ends_no_command(call: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    keys = "{name: ([], make_host_key(name).public) for name in ['a', *map(str, range(300))]}"
    setup = f"from labrun.key_pairs import make_host_key; {SETUP}.remember_host_keys({keys})"
    script = SETUP + f".{call}; print('went on')"
    done = on_a_full_disk(state, setup, sys.executable, "-c", script, str(state))
    root = LabState.open("demo", "x", tmp_path / "elsewhere").root.name
    assert done.stdout == "went on\n", done.stderr
    assert done.stderr == f"cannot write {state / root}/known_hosts: No space left on device\n"


@needs_mounts
@pytest.mark.parametrize(
    "command", every(2, ["exec true", "drift", "history", "status", "configure", "down"])
)
def test_no_command_calls_it_a_defect(command: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    words = [sys.executable, "-m", "labrun", "-y", "--state-dir", "state", *command.split()]
    done = on_a_full_disk(tmp_path / "state", "", *words)
    assert "defect" not in done.stderr
    assert "Traceback" not in done.stderr
    if command not in ("history", "status"):
        assert "No space left on device" in done.stderr or "disk is full" in done.stderr


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    state = LabState.open("demo", "x", tmp_path)
    state.check_room()
    assert list(state.root.iterdir()) == []
