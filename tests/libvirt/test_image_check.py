"""`image check`: an image is booted once, what it is worth is said, and nothing of the VM is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.outcome import Outcome, Status
from labrun.runner.commands.image_check import judged
from labrun.tasks.configure.nic_families import FAMILIES
from labrun.tasks.provision.image_import import import_image
from tests.labs import Answer, RunningLab
from tests.tiny_guest import GREETING, tiny_disk

URI = "qemu:///system"
READY = Outcome("guest", "ready", "guest", Status.OK, "ready", "ready", seconds=31.2)
LOST = Outcome("guest", "ready", "guest", Status.UNREACHABLE, "ready", "stage ssh", "no login at 198.18.1.9")
FACTS = [
    *(("family", "debian"), ("system", "Debian GNU/Linux 12 (bookworm)"), ("init", "systemd")),
    *(("cloud-init", "22.4.2"), ("sshd", "OpenSSH_9.2p1"), ("network", "NetworkManager"), ("root", "sudo")),
]


def left() -> list[str]:
    connection = libvirt.open(URI)
    try:
        found = [each.name() for each in connection.listAllDomains()]
        found += [each.name() for each in connection.listAllNetworks()]
        found += [each.name() for each in connection.listAllStoragePools()]
        return [name for name in found if "image-check" in name]
    finally:
        connection.close()


@pytest.fixture
def own_image(tmp_path: Path) -> Iterator[str]:
    """An image of the test's own in the store that everybody uses: libvirt's pool is one as well."""
    name = "t-image-check"
    import_image(tiny_disk(tmp_path / "tiny.qcow2"), name)
    yield name
    check(tmp_path, "remove", name)


def check(directory: Path, *words: str) -> Answer:
    lab = RunningLab(directory / "none.yaml", directory / "state")
    return lab.json(*words[:-2], "image", *words[-2:])


@pytest.mark.full
def test_an_image_that_nobody_can_log_in_to(own_image: str, tmp_path: Path) -> None:
    answer = check(tmp_path, "--timeout", "6", "check", own_image)
    assert answer.exit_code == 1, answer.stderr
    (row,) = answer.rows
    assert (row["name"], row["status"], row["actual"]) == (f"{own_image}: login", "failed", "stage ssh")
    assert GREETING in row["why"]
    document = answer.document["check"]
    assert (document["works"], document["login_seconds"], document["cloud_init"]) == (False, None, None)
    assert left() == []
    assert list((tmp_path / "state").iterdir()) == []
    absent = check(tmp_path, "check", "no-such-image")
    assert absent.exit_code == 2


@pytest.mark.vm
@pytest.mark.full
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_the_image_that_labrun_builds(firmware: str, tmp_path: Path) -> None:
    lab = RunningLab(tmp_path / "none.yaml", tmp_path / "state")
    answer = lab.json("image", "check", "debian-12", "--firmware", firmware, "--memory", "384")
    assert answer.exit_code == 0, answer.trouble()
    document = answer.document["check"]
    assert (document["works"], document["family"], document["init"]) == (True, "debian", "systemd")
    assert (document["network"], document["firmware"]) == (["NetworkManager"], firmware)
    assert document["cloud_init"][0].isdigit()
    assert document["sshd"].startswith("OpenSSH_")
    assert 5 < document["login_seconds"] < 600
    assert {row["status"] for row in answer.rows} == {"ok"}
    assert left() == []


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("", "nothing shows on its serial console; no login at 198.18.1.9"),
        ("Debian 12 guest ttyS0\n\nguest login: ", "it boots, and no cloud-init shows on its console"),
        ("[ 9.1] Cloud-init v. 22.4 running\nguest login: ", "cloud-init ran; no login at 198.18.1.9"),
        ("Kernel panic - not syncing: VFS", "its kernel panics; no login at 198.18.1.9"),
        ("SeaBIOS", "no login at 198.18.1.9"),
    ],
)
def test_what_the_console_tells_of_an_image_that_nobody_logs_in_to(console: str, why: str) -> None:
    (row,), document = judged("i", LOST, (), console)
    assert (row.status, row.actual, document["works"]) == (Status.FAILED, "stage ssh", False)
    assert (row.why or "").startswith(why)


@pytest.mark.parametrize(
    ("without", "also", "bad"),
    [
        ((), (), {}),
        (("sshd",), (), {"i: sshd": (Status.FAILED, "OpenSSH is not there")}),
        (("root",), (), {"i: root": (Status.FAILED, "sudo is not there, by which labrun becomes root")}),
        (
            ("network",),
            (),
            {
                "i: network": (
                    Status.WARNING,
                    "`configure` sets NICs through one of "
                    + ", ".join(family.name for family in FAMILIES)
                    + ", and none of them is there",
                )
            },
        ),
        (("network",), (("network", "systemd-networkd"), ("network", "netplan")), {}),
    ],
)
def test_what_a_guest_tells_of_itself(
    without: tuple[str, ...],
    also: tuple[tuple[str, str], ...],
    bad: dict[str, tuple[Status, str]],
) -> None:
    facts = [*(pair for pair in FACTS if pair[0] not in without), *also]
    rows, document = judged("i", READY, facts, "")
    assert {row.name: (row.status, row.why) for row in rows if row.status is not Status.OK} == bad
    assert document["works"] is not any(status is Status.FAILED for status, _ in bad.values())
    assert document["login_seconds"] == 31.2
