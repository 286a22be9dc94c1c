"""What a change, and what a boot would do to folders of the guard and of a login: by a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import places
from tests.unit.tasks.configure.test_guard_files import Guest, as_root

GUEST = places.GUEST_SHELL


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


SPARE = 'mkdir -p "$live/spare"; echo own >"$live/spare/undo"; mount_state >"$live/spare/mounts"; '


@pytest.mark.parametrize("damage", ['rm -rf "$guard"', 'rm -rf "$1/guard" "$1/lib"'])
def test_a_guard_whose_folder_is_gone_takes_the_copy_in_memory(guest: Guest, damage: str) -> None:
    done = guest.run(f'{SPARE}{damage}; recover && cat "$guard/undo"')
    assert (done.returncode, done.stdout) == (0, "own\n")


@as_root
def test_a_guard_whose_folder_is_hidden_finds_it_again(tmp_path: Path) -> None:
    script = SPARE.replace("own", "copy") + (
        'guard=/var/lib/labrun-test/guard; mkdir -p "$guard"; echo own >"$guard/undo"\n'
        'mount -t tmpfs none /var/lib/labrun-test; recover && cat "$guard/undo"; rm -rf /var/lib/labrun-test'
    )
    done = Guest(tmp_path).run(script, "unshare", "--mount")
    assert (done.returncode, done.stdout) == (0, "own\n")


def test_a_guard_that_somebody_has_ended_stays_so(guest: Guest) -> None:
    done = guest.run(f'{SPARE}rm -rf "$guard" "$live/spare"; recover; echo $?; [ ! -e "$guard" ]')
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.mark.parametrize(
    "damage",
    [
        'rm -rf "$1/home"',
        'mv "$1/home/lab" "$1/gone"; ln -s /nowhere "$1/home/lab"',
        'mv "$1/home" "$1/gone"; ln -s nowhere "$1/home"',
        'rm -rf "$1/home/lab"; echo x >"$1/home/lab"',
        'rm -rf "$1/home/lab"; mkfifo "$1/home/lab"',
        'rm -rf "$1/home/lab/.ssh"; ln -s /nowhere "$1/home/lab/.ssh"',
        'rm -rf "$1/home/lab/.ssh"; echo x >"$1/home/lab/.ssh"',
    ],
)
def test_a_folder_whose_place_something_else_has_taken_comes_back(guest: Guest, damage: str) -> None:
    script = """\
cd "$1"; mkdir -p home/lab/.ssh; echo key >home/lab/.ssh/authorized_keys; cp -a home/lab/.ssh "$guard/spare1"
(cd home/lab/.ssh; mkdir .labrun-tree; cp -a authorized_keys .labrun-tree; tree_list >"$guard/tree1")
"""
    done = guest.run(
        f'{script}{damage}; tree_put_back "$1/home/lab/.ssh" 1 && cat "$1/home/lab/.ssh/authorized_keys"'
    )
    assert (done.returncode, done.stdout) == (0, "key\n"), done.stderr


def test_what_starts_the_guard_at_a_boot_stays_while_folders_go_back(guest: Guest) -> None:
    """A restart in the middle of a rollback goes on with it, whichever init the guest has."""
    own = ["init.d/labrun-guard", "runlevels/boot/labrun-guard", "systemd/system/labrun-guard.service"]
    script = f"""\
mkdir -p "$1/etc/init.d" "$1/etc/runlevels/boot" "$1/etc/systemd/system"; cd "$1/etc"
mkdir .labrun-tree; tree_list >"$guard/tree1"
touch {" ".join(own)} init.d/new
tree_put_back "$1/etc" 1; find . -type f -not -path '*labrun-tree*' | sort
"""
    done = guest.run(script)
    assert (done.returncode, done.stdout.split()) == (0, [f"./{each}" for each in own]), done.stderr


# --- what a boot cleans ---------------------------------------------------------------------------

LINES = {
    "R /home/lab/.ssh - - - - -": "now",
    "z /home/lab 0777 - - -": "now",
    "Z /home 0777 - - -": "z /home 0777 - - -",
    "r! /etc/ssh/ssh_host_*": "now",
    "f+ /etc/nologin 0644 - - - closed": "now",
    "R /home/lab": "noted",
    "R! /home/*": "noted",
    "D /home 0755 root root -": "noted",
    'R "/home/l?b"': "noted",
    "R /home/lab/cache": None,
    "R /var/cache/*": None,
    "d /srv/own 0755 root root -": None,
    "# R /home/lab": None,
    "Z /srv/own 0777": None,
}


@pytest.mark.parametrize(("line", "does"), LINES.items())
def test_what_a_boot_would_clean_is_done_now_as_far_as_it_can_be_undone(
    tmp_path: Path, line: str, does: str | None
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    # What it is given, not what it does with that: this machine's own folders must stay.
    (tools / "systemd-tmpfiles").write_text('#!/bin/sh\nfor last; do :; done\ncat "$last"\n')
    (tools / "systemd-tmpfiles").chmod(0o755)
    guard, etc = tmp_path / "guard", tmp_path / "etc"
    for folder in (guard, etc / "tmpfiles.d", etc / ".labrun-tree/tmpfiles.d"):
        folder.mkdir(parents=True)
    (guard / "home").write_text("/home/lab\n")
    (etc / "tmpfiles.d/old.conf").write_text("R /home/lab\n")
    shutil.copy(etc / "tmpfiles.d/old.conf", etc / ".labrun-tree/tmpfiles.d")
    (etc / "tmpfiles.d/new.conf").write_text(f"{line}\n")
    text = (GUEST / "rehearse_boot.sh").read_text().replace(" /etc/tmpfiles.d/", f" {etc}/tmpfiles.d/")
    text = text.replace(
        '"/etc/.labrun-tree/${clean_file#/etc/}"', f'"{etc}/.labrun-tree/${{clean_file#{etc}/}}"'
    )
    done = subprocess.run(
        ["sh", "-c", f"guard={guard}\n{text}\nclean_as_boot"],
        env={"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()[1:]
    noted = (guard / "hiding").read_text() if (guard / "hiding").exists() else ""
    if does == "noted":
        path = line.split()[1].strip('"')
        assert (said, noted) == ([], f"tmpfiles.d would remove {path}\n")
    else:
        assert (said, noted) == ([] if does is None else [line if does == "now" else does], "")


@as_root
@pytest.mark.parametrize("less", ["size=1m", "nr_inodes=90", "size=1m,nr_inodes=90", "size=8m"])
def test_a_run_that_was_made_smaller_holds_as_much_as_before(tmp_path: Path, less: str) -> None:
    script = (
        'mount -t tmpfs -o mode=755,size=8m,nr_inodes=500 none /run; run_size >"$guard/run-size"; '
        f"mount -o remount,{less} /run; put_back_mounts; run_size"
    )
    done = Guest(tmp_path).run(script, "unshare", "--mount")
    assert (done.returncode, done.stdout) == (0, "size=8192k,nr_inodes=500\n")


@as_root
@pytest.mark.parametrize("less", ["size=1m", "nr_inodes=90", "size=1m,nr_inodes=90"])
def test_a_run_of_the_default_size_holds_as_much_as_before(tmp_path: Path, less: str) -> None:
    script = (
        'mount -t tmpfs none /run; run_size >"$guard/run-size"; stat -f -c "%b %c" /run; '
        f'mount -o remount,{less} /run; put_back_mounts; stat -f -c "%b %c" /run'
    )
    done = Guest(tmp_path).run(script, "unshare", "--mount")
    before, after = done.stdout.splitlines()
    assert (done.returncode, after) == (0, before)


@as_root
def test_a_run_that_is_no_file_system_of_its_own_is_left_alone(tmp_path: Path) -> None:
    script = 'umount -R -l /run; run_size >"$guard/run-size"; put_back_size; wc -c <"$guard/run-size"'
    done = Guest(tmp_path).run(script, "unshare", "--mount")
    assert (done.returncode, done.stdout) == (0, "0\n")
