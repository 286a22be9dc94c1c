"""Snapshots of a lab of real containers: saved as one, restored as one, compared, and known to the rest."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import Answer, RunningLab

LAB = """\
name: e2e-snap
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.175.0.0/24}
  right: {mode: isolated, cidr: 10.176.0.0/24}
hosts:
  gate: {role: router, networks: {left: 10.175.0.254, right: 10.176.0.254}}
  one: {networks: {left: 10.175.0.11}}
  two: {networks: {right: dhcp}}
"""
HOSTS = ("gate", "one", "two")
KEPT = Path("/var/lib/labrun/snapshots/e2e-snap")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("snap"), LAB, "--configure")


@dataclass(frozen=True)
class Saved:
    """What the first snapshot answered, and how long it took."""

    answer: Answer
    seconds: float


@pytest.fixture(scope="module")
def good(lab: RunningLab) -> Saved:
    """The snapshot "good" of the lab as it is declared, with a file of somebody on the host ``two``."""
    assert lab.json("verify").exit_code == 0
    lab.guest("two", "echo kept >/var/lib/note")
    began = time.monotonic()
    answer = lab.json("snapshot", "save", "good")
    seconds = time.monotonic() - began
    assert answer.exit_code == 0, answer.trouble()
    return Saved(answer, seconds)


def states(lab: RunningLab) -> dict[str, str]:
    return {host["name"]: host["state"] for host in lab.json("status").document["hosts"]}


def snapshots(lab: RunningLab) -> list[str]:
    return [each["name"] for each in lab.json("snapshot", "list").document["snapshots"]]


def broken(lab: RunningLab) -> None:
    """Break what `verify` looks at, now and for good."""
    lab.guest(
        "gate", "echo net.ipv4.ip_forward=0 >/etc/sysctl.d/99-off.conf; sysctl -q net.ipv4.ip_forward=0"
    )
    lab.guest("one", "rm /etc/NetworkManager/system-connections/*; echo lost >/var/lib/note; sync")


def test_a_lab_that_was_broken_for_good_verifies_again_after_a_restore(lab: RunningLab, good: Saved) -> None:
    assert {(row["host"], row["section"], row["status"]) for row in good.answer.rows} == {
        (host, "snapshot", "changed") for host in HOSTS
    }
    assert good.seconds < 5
    assert set(states(lab).values()) == {"running"}
    assert lab.json("verify").exit_code == 0, "the pause has left something behind"
    broken(lab)
    assert lab.json("verify").exit_code != 0
    restored = lab.json("-y", "snapshot", "restore", "good")
    assert restored.exit_code == 0, restored.trouble()
    assert {row["host"] for row in restored.of("ready")} == set(HOSTS)
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
    assert lab.json("drift").exit_code == 0
    assert lab.guest("two", "cat /var/lib/note") == "kept\n"
    assert lab.guest("one", "ls /root") == ""


@pytest.mark.full
def test_a_second_restore_gives_the_same_and_up_has_nothing_to_do(lab: RunningLab, good: Saved) -> None:
    assert lab.json("-y", "snapshot", "restore", "good").exit_code == 0
    assert lab.json("plan").exit_code == 0
    assert lab.json("configure", "--dry-run").exit_code == 0
    assert lab.json("verify").exit_code == 0


def test_diff_names_files_and_settings_and_shows_no_secret(lab: RunningLab, good: Saved) -> None:
    clean = lab.json("snapshot", "diff", "good")
    before = {(row["host"], row["name"]) for row in clean.rows if row["status"] == "drifted"}
    lab.guest("one", "echo 10.0.0.1 far >>/etc/hosts; passwd -q -d root; rm /etc/issue")
    found = lab.json("snapshot", "diff", "good")
    assert found.exit_code == 3
    new = {row["name"]: row for row in found.rows if (row["host"], row["name"]) not in before}
    changed = {name: row["why"] for name, row in new.items() if row["status"] == "drifted"}
    assert changed["/etc/hosts"] == "changed"
    assert changed["/etc/issue"] == "removed"
    assert "+10.0.0.1 far" in new["/etc/hosts"]["diff"]
    assert changed["/etc/shadow"] == "changed"
    assert new["/etc/shadow"]["diff"] is None
    assert {row["host"] for row in found.rows} == set(HOSTS)


@pytest.mark.full
def test_a_second_snapshot_takes_only_what_has_changed(lab: RunningLab, good: Saved) -> None:
    lab.guest("one", "dd if=/dev/urandom of=/var/lib/big bs=1M count=20 2>&1; sync")
    assert lab.json("snapshot", "save", "bigger").exit_code == 0
    assert lab.json("snapshot", "save", "again").exit_code == 0
    first, second = KEPT / "bigger/one/upper/var/lib/big", KEPT / "again/one/upper/var/lib/big"
    assert first.stat().st_ino == second.stat().st_ino
    assert snapshots(lab)[-2:] == ["bigger", "again"]
    removed = lab.json("-y", "snapshot", "remove", "bigger")
    assert [(row["name"], row["status"]) for row in removed.rows] == [("bigger", "changed")]
    assert second.stat().st_size == 20 << 20
    assert snapshots(lab)[-1] == "again"
    assert "bigger" not in snapshots(lab)


@pytest.mark.full
def test_a_save_that_is_interrupted_leaves_no_machine_paused_and_no_snapshot(lab: RunningLab) -> None:
    lab.guest("one", "dd if=/dev/urandom of=/var/lib/more bs=1M count=300 2>&1; sync")
    before = snapshots(lab)
    process = lab.start("snapshot", "save", "never")
    deadline = time.monotonic() + 60
    while "paused" not in states(lab).values() and process.poll() is None:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert set(states(lab).values()) == {"running"}
    if process.returncode:
        assert snapshots(lab) == before
        assert not list(KEPT.glob(".*"))
    else:
        assert lab.json("-y", "snapshot", "remove", "never").exit_code == 0
    lab.guest("one", "rm /var/lib/more")


@pytest.mark.full
def test_a_planted_fault_is_gone_with_its_record(lab: RunningLab, good: Saved) -> None:
    assert lab.json("-y", "snapshot", "restore", "good").exit_code == 0
    assert lab.json("break").exit_code == 0
    assert lab.json("verify").exit_code != 0
    assert lab.json("-y", "snapshot", "restore", "good").exit_code == 0
    assert lab.json("verify").exit_code == 0
    # None is planted any more: the next one can be.
    assert lab.json("break").exit_code == 0
    assert lab.json("mend").exit_code == 0


@pytest.mark.full
def test_what_is_off_is_saved_and_restored_as_off(lab: RunningLab) -> None:
    assert lab.json("stop", "--hosts", "one").exit_code == 0
    assert lab.json("snapshot", "save", "one-off").exit_code == 0
    assert states(lab)["one"] == "shut off"
    assert lab.json("start", "--hosts", "one").exit_code == 0
    restored = lab.json("-y", "snapshot", "restore", "one-off", "--hosts", "one")
    assert restored.exit_code == 0, restored.trouble()
    assert states(lab) == {"gate": "running", "one": "shut off", "two": "running"}
    assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_a_machine_that_was_recreated_since_is_the_former_one_again(lab: RunningLab, good: Saved) -> None:
    assert lab.json("-y", "up", "--recreate", "--hosts", "two").exit_code == 0
    restored = lab.json("-y", "snapshot", "restore", "good", "--hosts", "two")
    assert restored.exit_code == 0, restored.trouble()
    # Its host key is that of the snapshot.
    assert lab.guest("two", "cat /var/lib/note") == "kept\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("save", "Good"),
            2,
            'a snapshot cannot be called "Good" hint: a lower-case letter or a digit, then',
        ),
        (("save", "../x"), 2, 'a snapshot cannot be called "../x"'),
        (("save", "good"), 2, 'there is a snapshot "good" already'),
        (("save", "x", "--hosts", "one"), 2, "--hosts: a snapshot is of the whole lab"),
        (
            ("restore", "bad"),
            2,
            'the lab e2e-snap has no snapshot "bad" hint: there are good',
        ),
        (("remove", "bad"), 2, 'the lab e2e-snap has no snapshot "bad"'),
        (("diff", "bad"), 2, 'the lab e2e-snap has no snapshot "bad"'),
        (("restore", "good"), 2, "Replace these? This needs confirmation, and there is no terminal"),
        (("remove", "good"), 2, "Remove this? This needs confirmation, and there is no terminal"),
    ],
)
def test_bad_input(lab: RunningLab, good: Saved, words: tuple[str, ...], code: int, message: str) -> None:
    answer = lab.run("snapshot", *words)
    assert answer.exit_code == code
    assert message in answer.stderr.replace("\n", " ")
    assert set(states(lab).values()) == {"running"}


@pytest.mark.full
def test_an_image_that_only_a_snapshot_stands_on_stays_until_down_removes_both(
    lab: RunningLab, good: Saved
) -> None:
    kept = snapshots(lab)
    answer = lab.json("image", "remove", "debian-12")
    assert answer.exit_code == 1
    assert "e2e-snap/one (snapshot good)" in answer.rows[0]["why"]
    assert lab.json("-y", "down", "--hosts", "one").exit_code == 0
    assert snapshots(lab) == kept
    # Its files, and its definition, come from the snapshot.
    restored = lab.json("-y", "snapshot", "restore", "good", "--hosts", "one")
    assert restored.exit_code == 0, restored.trouble()
    assert lab.json("verify").exit_code == 0
    down = lab.json("-y", "down")
    assert [row["name"] for row in down.of("snapshot")] == kept
    assert not KEPT.exists()
    mounts = subprocess.run(["findmnt", "-n"], capture_output=True, text=True, check=True).stdout
    assert "e2e-snap" not in mounts
