"""Forks of a lab of real containers: the same addresses beside it, broken without it, gone without trace."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import Answer, RunningLab

LAB = """\
name: e2e-fork
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: nat, cidr: 10.177.0.0/24}
  right: {mode: isolated, cidr: 10.178.0.0/24}
hosts:
  gate: {role: router, networks: {left: 10.177.0.254, right: 10.178.0.254}}
  one: {networks: {left: 10.177.0.11}}
  two: {networks: {right: dhcp}}
"""
HOSTS = ("gate", "one", "two")
KEPT = Path("/var/lib/labrun/forks/e2e-fork")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("fork"), LAB, "--configure")


def names(answer: Answer, section: str) -> set[tuple[str, str]]:
    return {(row["host"], row["status"]) for row in answer.of(section)}


def traces(word: str) -> list[str]:
    """Return processes, mounts and control groups that carry a word."""
    found = [
        f"process {entry.name}"
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and entry.name != str(os.getpid())
        for line in [_read(entry / "mountinfo")]
        if word in line
    ]
    groups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-type", "d", "-name", f"*{word}*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found + groups.stdout.splitlines()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def test_a_fork_is_the_lab_and_what_breaks_in_it_stays_in_it(lab: RunningLab) -> None:
    lab.guest("one", "umask 077; echo before >/var/lib/note")
    made = lab.json("fork", "trial")
    assert made.exit_code == 0, made.trouble()
    assert names(made, "ready") == {(host, "ok") for host in HOSTS}
    inside = lab.json("-f", "trial", "verify")
    assert inside.exit_code == 0, inside.trouble()
    assert lab.json("-f", "trial", "drift").exit_code == 0
    assert lab.json("-f", "trial", "plan").exit_code == 0
    asked = lab.run("-f", "trial", "ssh", "one", "cat /var/lib/note; sudo sh -c 'cat /var/lib/note'")
    assert asked.stdout == "before\n"
    broken = lab.json(
        "-f",
        "trial",
        "exec",
        "sudo sh -c 'rm -rf /etc/NetworkManager/system-connections; ip link set eth0 down'",
    )
    assert {row["host"] for row in broken.rows} == set(HOSTS)
    assert lab.json("-f", "trial", "verify").exit_code in (1, 4)
    outside = lab.json("verify")
    assert outside.exit_code == 0, outside.trouble()
    assert lab.guest("one", "cat /var/lib/note") == "before\n"


@pytest.mark.full
def test_commands_in_a_fork_have_keys_history_and_lock_of_their_own(lab: RunningLab) -> None:
    runs = [run["run"] for run in lab.json("history").document["runs"]]
    inside = [run["command"] for run in lab.json("-f", "trial", "history").document["runs"]]
    assert "verify" in inside
    assert lab.json("-f", "trial", "stop", "--hosts", "two").exit_code == 0
    states = {host["name"]: host["state"] for host in lab.json("status").document["hosts"]}
    assert states["two"] == "running"
    assert [run["run"] for run in lab.json("history").document["runs"]] == runs


def test_down_in_a_fork_leaves_the_lab_and_the_fork_can_be_dropped(lab: RunningLab) -> None:
    assert lab.json("-y", "-f", "trial", "down").exit_code == 0
    assert lab.json("verify").exit_code == 0
    dropped = lab.json("-y", "drop", "trial")
    assert [(row["name"], row["status"]) for row in dropped.rows] == [("trial", "changed")]
    assert not (KEPT / "trial").exists()
    assert traces("e2e-fork/trial") == []
    assert traces("labrun-fork.e2e-fork.trial") == []
    again = lab.run("-y", "drop", "trial")
    assert again.exit_code == 2
    assert again.stderr == (
        'error: the lab e2e-fork has no fork "trial"\nhint: `labrun fork NAME` makes one\n'
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("fork", "No"), 2, 'a fork cannot be called "No"'),
        (("fork", "x", "--hosts", "one"), 2, "--hosts: a fork is of the whole lab"),
        (("-f", "none", "verify"), 2, 'the lab e2e-fork has no fork "none"'),
        (("-f", "none", "fork", "x"), 2, "-f: a fork has no forks"),
        (("-f", "none", "image", "prune"), 2, "-f: `image` is about this machine, not about a lab"),
        (("drop", "none"), 2, 'the lab e2e-fork has no fork "none"'),
    ],
)
def test_bad_input(lab: RunningLab, words: tuple[str, ...], code: int, message: str) -> None:
    answer = lab.run(*words)
    assert (answer.exit_code, message in answer.stderr) == (code, True), answer.stderr


@pytest.mark.full
def test_ten_forks_at_once_take_the_space_of_what_they_write(lab: RunningLab) -> None:
    lab.guest("one", "dd if=/dev/urandom of=/var/lib/big bs=1M count=20 2>&1; sync")
    forks = [f"f{number}" for number in range(10)]
    for name in forks:
        made = lab.json("fork", name, "--no-wait")
        assert made.exit_code == 0, made.trouble()
    used = subprocess.run(["du", "-sm", str(KEPT)], capture_output=True, text=True, check=True).stdout
    # Once the 20 MiB and the rest of what the lab has written; ten times libvirt's own files and a boot's.
    assert int(used.split()[0]) < 20 + 10 * 8
    for name in forks[::3]:
        up = lab.json("-f", name, "up")
        assert up.exit_code == 0, up.trouble()
        assert lab.json("-f", name, "verify").exit_code == 0
    assert lab.json("verify").exit_code == 0
    for name in forks:
        assert lab.json("-y", "drop", name).exit_code == 0
    assert traces("labrun-fork.e2e-fork") == []


@pytest.mark.full
def test_a_fork_whose_libvirtd_was_killed_can_only_be_dropped(lab: RunningLab) -> None:
    assert lab.json("fork", "dead", "--no-wait").exit_code == 0
    os.kill(int((KEPT / "dead/.own/run/libvirtd.pid").read_text()), signal.SIGKILL)
    answer = lab.run("-f", "dead", "verify")
    assert answer.exit_code == 5
    assert answer.stderr.startswith("error: -f: the fork dead is not running")
    assert "hint: `labrun drop dead`, then `labrun fork dead`\n" in answer.stderr
    assert lab.json("-y", "drop", "dead").exit_code == 0
    assert traces("e2e-fork/dead") == []
    assert traces("labrun-fork.e2e-fork") == []


@pytest.mark.full
def test_down_of_the_lab_drops_its_forks(lab: RunningLab) -> None:
    assert lab.json("fork", "last", "--no-wait").exit_code == 0
    down = lab.json("-y", "down")
    assert [(row["name"], row["status"]) for row in down.of("fork")] == [("last", "changed")]
    assert not KEPT.exists() or not list(KEPT.iterdir())
    assert traces("e2e-fork/last") == []
