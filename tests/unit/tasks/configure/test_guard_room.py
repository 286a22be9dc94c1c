"""A file system in memory that fills up while a change waits: the host rolls back all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.tasks.configure.guard_script import confirm
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import apply_script
from tests.unit.tasks.configure.test_guard import MARK, TICKET, Guest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest.made(tmp_path)
    made.profile.write_text("old\n")
    yield made
    if made.directory.exists():
        # What still waits sees that there is nothing left to wait for.
        shutil.rmtree(made.directory)


@pytest.fixture
def live(guest: Guest) -> Iterator[Path]:
    """Give the guest a folder in memory with few names and bytes."""
    place = guest.root / "run-labrun-guard"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "none", str(place)]
    subprocess.run(words, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(live: Path) -> None:
    """Take all that is left, the bytes first."""
    try:
        with (live / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
    try:
        for number in range(1000):
            (live / f"more-{number}").touch()
    except OSError:
        return
    raise AssertionError("there is still room")


@as_root
def test_without_room_in_memory_the_host_rolls_back_when_the_time_is_up(guest: Guest, live: Path) -> None:
    guest.configure(guest.plan())
    guest.watcher()
    fill(live)
    (guest.directory / "until").write_text("0\n")
    guest.ends()
    assert guest.profile.read_text() == "old\n"


@as_root
def test_without_room_in_memory_the_host_rolls_back_when_it_is_told_to(guest: Guest, live: Path) -> None:
    guest.configure(guest.plan())
    guest.watcher()
    fill(live)
    guest.undo("now", TICKET.run)
    guest.ends()
    assert guest.profile.read_text() == "old\n"


def test_what_is_kept_free_goes_when_the_change_is_confirmed(guest: Guest) -> None:
    guest.configure(guest.plan())
    guest.watcher()
    live = guest.root / "run-labrun-guard"
    assert len(list(live.glob("room.*"))) > 10
    guest.run(apply_script([], MARK, first=confirm(TICKET.run, "")))
    assert not live.exists()


@as_root
@pytest.mark.parametrize(
    ("wide", "holds", "names", "size"),
    [
        ("", "size=1m,nr_inodes=100", 12, 65536),
        ("yes", "size=64m,nr_inodes=4000", 60, 2065536),
        # A quarter of what is free: the snapshot and services want room there too.
        ("yes", "size=1m,nr_inodes=101", 25, 262144),
        ("yes", "size=0,nr_inodes=0", 0, 0),
        # What does not fit is not kept.
        ("", "size=32k,nr_inodes=100", 0, None),
        ("", "size=1m,nr_inodes=8", 0, None),
    ],
)
def test_a_small_file_system_in_memory_is_not_filled_by_arming(
    tmp_path: Path, wide: str, holds: str, names: int, size: int | None
) -> None:
    text = guest_script("arm")
    first, last = text.index("keep_room() {"), text.index("eval ")
    script = f'live={tmp_path}/live wide={wide}; mkdir "$live"; mount -t tmpfs -o {holds} none "$live"\n'
    seen = 'ls "$live" | grep -c "^room.[0-9]"; stat -c %s "$live/room.bytes"; echo 12 >"$live/pid"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{script}{text[first:last]}{seen}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(names), *([] if size is None else [str(size)])]
