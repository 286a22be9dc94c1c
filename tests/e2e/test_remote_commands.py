"""Commands that ask the hypervisor itself, in a lab whose only hypervisor is another machine.

That machine is a libvirtd and an sshd in namespaces of their own; the guest is of one boot sector.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.further_hypervisor import FIRST, FurtherHypervisor, further_hypervisor, own_ssh, with_ssh
from tests.labs import RunningLab
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.vm, pytest.mark.full]

NAME = "e2e-single-far"
LAB = """\
name: e2e-single-far
hypervisor: "{uri}"
defaults: {{memory: 64, disk: 1, image: tiny}}
images: {{tiny: {{path: tiny.qcow2}}}}
networks:
  lan: {{mode: isolated, cidr: 10.168.1.0/24}}
hosts:
  one: {{networks: {{lan: 10.168.1.11}}}}
"""
KEPT = Path(f"/var/lib/labrun/snapshots/{NAME}")


@dataclass
class FarLab(RunningLab):
    """A lab whose commands run where the wire to its hypervisor begins, with the test's own keys."""

    ssh: Path = field(default=Path())

    def arguments(self, *words: str) -> list[str]:
        place = ["nsenter", f"--net=/proc/{daemon_pid(FIRST)}/ns/net"]
        return [*place, *with_ssh(self.ssh), *super().arguments(*words)]


@pytest.fixture(scope="module")
def far(
    hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, FurtherHypervisor]]:
    folder = tmp_path_factory.mktemp("far")
    ssh = own_ssh(folder)
    with further_hypervisor(folder / "far", ssh, 24) as far:
        yield ssh, far


@pytest.fixture(scope="module")
def lab(far: tuple[Path, FurtherHypervisor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarLab]:
    ssh, there = far
    folder = tmp_path_factory.mktemp("far-lab")
    tiny_disk(folder / "tiny.qcow2")
    path = folder / "lab.yaml"
    path.write_text(LAB.format(uri=there.uri), encoding="utf-8")
    made = FarLab(path, folder / "state", {}, ssh)
    try:
        up = made.json("-y", "up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        yield made
        kept = made.json("snapshot", "save", "last")
        assert kept.exit_code == 0, kept.trouble()
    finally:
        down = made.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
    assert "last" in {row["name"] for row in down.of("snapshot")}
    assert not files_there(there, "")
    assert not KEPT.exists()


def files_there(there: FurtherHypervisor, name: str) -> list[str]:
    """Return what the other machine has of a snapshot, or of all of the lab."""
    return there.inside("sh", "-c", f"ls -A {KEPT}/{name} 2>/dev/null || true").split()


def test_the_rules_of_its_networks(lab: FarLab) -> None:
    net = lab.json("net", "--rules")
    assert net.exit_code == 0, net.trouble()
    (network,) = net.document["networks"]
    assert "nothing else comes in" in [rule["does"] for rule in network["rules"]]


def test_a_link_there_gets_slow_and_back(lab: FarLab, far: tuple[Path, FurtherHypervisor]) -> None:
    def tc(*words: str) -> list[tuple[str, str]]:
        said = lab.json("tc", *words)
        assert said.exit_code == 0, said.trouble()
        return [(row["status"], row["actual"]) for row in said.of("tc")]

    slow = ("one:lan", "rate", "2mbit")
    assert tc(*slow) == [("changed", "rate 2mbit")]
    assert "1ab0:" in far[1].inside("tc", "qdisc", "show")
    assert tc(*slow) == [("ok", "rate 2mbit")]
    assert tc() == [("ok", "rate 2mbit")]
    assert tc("one:lan", "--clear") == [("changed", "none")]
    assert tc("one:lan", "--clear") == [("ok", "none")]
    assert "1ab0:" not in far[1].inside("tc", "qdisc", "show")


def test_packets_at_its_nics(lab: FarLab, far: tuple[Path, FurtherHypervisor]) -> None:
    process = subprocess.Popen(
        lab.arguments("--json", "--timeout", "60", "capture", "one", "arp", "-c", "1"),
        env=lab.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "capturing at one:lan; Ctrl-C stops\n"
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        # Nobody has this address, so all on the network are asked for it.
        far[1].inside("sh", "-c", "ping -c 1 -W 1 10.168.1.99 >/dev/null; true")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    (packet,) = json.loads(out)["packets"]
    assert (packet["host"], packet["network"]) == ("one", "lan")
    assert "who-has 10.168.1.99" in packet["packet"]


def test_a_snapshot_of_its_machines(lab: FarLab, far: tuple[Path, FurtherHypervisor]) -> None:
    there = far[1]
    saved = lab.json("snapshot", "save", "first")
    assert saved.exit_code == 0, saved.trouble()
    assert {"disk0", "domain.xml", "memory"} <= set(files_there(there, "first/one"))
    # Only the list of what it has is here.
    assert [each.name for each in (KEPT / "first").iterdir()] == ["snapshot.json"]
    (listed,) = lab.json("snapshot", "list").document["snapshots"]
    assert (listed["machines"], listed["memory"]) == ({"one": "running"}, True)
    assert listed["bytes"] > 1024 * 1024
    assert lab.json("snapshot", "diff", "first").of("machine")[0]["status"] == "ok"
    again = lab.run("snapshot", "save", "first")
    assert again.exit_code == 2
    assert again.stderr.startswith('error: there is a snapshot "first" already\n')

    stopped = lab.json("stop")
    assert stopped.exit_code == 0, stopped.trouble()
    for _ in range(2):
        restored = lab.json("-y", "snapshot", "restore", "first", "--no-wait")
        assert restored.exit_code == 0, restored.trouble()
        assert f"{NAME}-one" in there.inside("virsh", "-q", "-c", FIRST, "list", "--name")
    with there.cut():
        lost = lab.run("--timeout", "5", "-y", "snapshot", "remove", "first")
        assert lost.exit_code == 5, lost.stderr
        assert "disk0" in files_there(there, "first/one")
    removed = lab.json("-y", "snapshot", "remove", "first")
    assert removed.exit_code == 0, removed.trouble()
    assert not files_there(there, "")


def test_a_lab_of_the_same_name_here_has_its_own_snapshots(lab: FarLab, tmp_path: Path) -> None:
    kept = lab.json("snapshot", "save", "theirs")
    assert kept.exit_code == 0, kept.trouble()
    path = tmp_path / "lab.yaml"
    path.write_text(lab.path.read_text(encoding="utf-8").replace(f'"{uri_of(lab)}"', FIRST), encoding="utf-8")
    tiny_disk(tmp_path / "tiny.qcow2")
    here = FarLab(path, tmp_path / "state", {}, lab.ssh)
    assert here.json("snapshot", "list").document["snapshots"] == []
    restored = here.run("-y", "snapshot", "restore", "theirs")
    assert (restored.exit_code, restored.stderr) == (
        2,
        (
            f'error: the snapshot "theirs" is of the lab {NAME} on {uri_of(lab)}\n'
            f"hint: this one is on {FIRST}\n"
        ),
    )
    assert here.run("-y", "down").exit_code == 0
    assert [each["name"] for each in lab.json("snapshot", "list").document["snapshots"]] == ["theirs"]


def uri_of(lab: FarLab) -> str:
    return lab.path.read_text(encoding="utf-8").partition('hypervisor: "')[2].partition('"')[0]


def test_a_fork_says_what_keeps_vms(lab: FarLab) -> None:
    fork = lab.run("fork", "x")
    assert fork.exit_code == 5
    assert fork.stderr.startswith(
        f"error: fork: a fork has containers only, and {uri_of(lab)} has VMs of the lab alone\n"
        "hint: `labrun snapshot save NAME` keeps VMs too\n"
    ), fork.stderr


def test_one_that_is_gone_is_an_error(lab: FarLab, far: tuple[Path, FurtherHypervisor]) -> None:
    with far[1].cut():
        capture = lab.run("--timeout", "5", "capture", "one")
        assert (capture.exit_code, capture.stdout) == (5, ""), capture.stderr
        rules = lab.run("--timeout", "5", "net", "--rules")
        assert (rules.exit_code, rules.stdout) == (5, ""), rules.stderr
