"""What nothing accounts for any more is found and removed, and nothing else is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from labrun.hypervisor import in_daemon_namespace
from labrun.tasks.provision.orphans import why_without_file
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.snapshot_store import SNAPSHOTS
from labrun.tasks.provision.volumes import create_raw, ensure_pool, find_pool, lab_pool, volume_names
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab
from tests.leftovers import note

NAME = "e2e-orphans"
LXC, QEMU = "lxc:///system", "qemu:///system"
LAB = f"""\
name: {NAME}
hypervisor: {LXC}
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: very-isolated, cidr: 10.135.0.0/24}}}}
hosts:
  one: {{networks: {{n: 10.135.0.11}}}}
  two: {{networks: {{n: 10.135.0.12}}}}
"""


@pytest.fixture
def lab(hypervisor: None, tmp_path: Path) -> Iterator[RunningLab]:
    made = write_lab(tmp_path, LAB)
    try:
        up = made.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.path.write_text(LAB, encoding="utf-8")
        made.run("-y", "down")


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    opened = libvirt.open(LXC)
    yield opened
    opened.close()


def orphans(lab: RunningLab, name: str = NAME) -> list[dict[str, Any]]:
    answer = lab.json("list", "--orphans", "--name", name)
    assert answer.exit_code == 0, answer.stderr
    return list(answer.document["orphans"])


def remove(lab: RunningLab, name: str = NAME) -> set[tuple[str, str]]:
    """Remove the orphans of the lab; return names and statuses."""
    answer = lab.json("-y", "list", "--orphans", "--remove", "--name", name)
    assert answer.exit_code == 0, answer.trouble()
    return {(row["name"], row["status"]) for row in answer.rows}


def test_a_lab_whose_file_is_gone(lab: RunningLab, connection: libvirt.virConnect) -> None:
    assert orphans(lab) == []
    assert remove(lab) == set()
    assert lab.run("snapshot", "save", "good").exit_code == 0
    lab.path.unlink()
    (found,) = orphans(lab)
    assert found == {
        "lab": NAME,
        "host": None,
        "things": ["machine one", "machine two", "network n", "snapshot good"],
        "why": f"its lab file {lab.path.resolve()} is gone",
        "hypervisor": LXC,
        "removable": True,
    }
    refused = lab.run("list", "--orphans", "--remove", "--name", NAME)
    assert refused.exit_code == 2
    assert "-y confirms it" in refused.stderr
    # Another state directory knows of no file: then it may be somebody's.
    elsewhere = RunningLab(lab.path, lab.state.with_name("elsewhere"))
    (unknown,) = orphans(elsewhere)
    why = f"its lab file is not known here: `labrun down --name {NAME}` removes it"
    assert (unknown["why"], unknown["removable"]) == (why, False)
    assert remove(elsewhere) == {(NAME, "skipped")}
    assert len(orphans(lab)) == 1

    names = ("one", "two", "n", "declared addresses")
    assert remove(lab) == {(f"{NAME}/{name}", "changed") for name in (*names, "good")}
    assert SNAPSHOTS.of(NAME) == ()
    assert [each.name() for each in connection.listAllDomains() if each.name().startswith(NAME)] == []
    assert not (LABS / NAME).exists()
    assert orphans(lab) == []
    assert remove(lab) == set()


def test_the_files_of_a_machine_that_somebody_undefined(
    lab: RunningLab, connection: libvirt.virConnect
) -> None:
    domain = connection.lookupByName(f"{NAME}-two")
    domain.destroy()
    domain.undefine()
    (found,) = orphans(lab)
    assert (found["host"], found["things"], found["why"]) == (
        "two",
        ["files of two"],
        "there is no such machine",
    )
    # A machine of somebody's that uses them speaks for them.
    copy = connection.defineXML(
        f"<domain type='lxc'><name>{note(NAME + '-copy')}</name><memory>65536</memory><os><type>exe</type>"
        "<init>/bin/sh</init></os><devices><filesystem type='mount'>"
        f"<source dir='{LABS}/{NAME}/two/root'/><target dir='/'/></filesystem></devices></domain>"
    )
    try:
        assert orphans(lab) == []
    finally:
        copy.undefine()
    assert remove(lab) == {(f"{NAME}/two", "changed")}
    assert not (LABS / NAME / "two").exists()
    mounts = subprocess.run(
        [*in_daemon_namespace(LXC), "cat", "/proc/mounts"], capture_output=True, text=True, check=True
    ).stdout
    assert f"{LABS}/{NAME}/two" not in mounts
    assert orphans(lab) == []
    # The rest of the lab is as it was, and the machine can be made again.
    assert connection.lookupByName(f"{NAME}-one").isActive()
    assert lab.json("up", "--no-wait").exit_code == 0


@pytest.mark.full
def test_rules_and_files_of_a_lab_that_somebody_undefined(
    lab: RunningLab, connection: libvirt.virConnect
) -> None:
    everything: list[Any] = [*connection.listAllDomains(), *connection.listAllNetworks()]
    assert lab.run("snapshot", "save", "good").exit_code == 0
    for each in everything:
        if each.name().startswith(f"{NAME}-"):
            each.destroy()
            each.undefine()
    # With its file and a snapshot, the lab can be as it was.
    assert orphans(lab) == []
    assert lab.run("-y", "snapshot", "remove", "good").exit_code == 0
    (orphan,) = orphans(lab)
    assert orphan["things"] == ["files of one", "files of two", f"nftables labrun/{NAME}/spoofing"]
    assert remove(lab) == {(f"{NAME}/declared addresses", "changed")}
    assert not (LABS / NAME).exists()
    assert orphans(lab) == []


def test_disks_of_a_lab_that_is_gone(hypervisor: None, tmp_path: Path) -> None:
    name = note("e2e-orphan-disks")
    lab = write_lab(tmp_path, LAB)
    connection = libvirt.open(QEMU)
    try:
        pool = ensure_pool(connection, lab_pool(name))
        for volume in ("web.qcow2", "web.disk1.qcow2", "web-seed.iso", "db-1.qcow2"):
            create_raw(pool, volume, 512)
        assert len(volume_names(pool)) == 4
        (found,) = orphans(lab, name)
        assert (found["things"], found["why"]) == (
            ["files of db-1", "files of web"],
            "no machine and no network of the lab is there",
        )
        assert remove(lab, name) == {(name, "changed")}
        assert find_pool(connection, lab_pool(name)) is None
        assert not Path(str(lab_pool(name).directory)).exists()
        assert orphans(lab, name) == []
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: demo\n", ""),
        ("# a comment\nname: 'demo' # and another\n", ""),
        ("not yaml: [", ""),
        ("name: other\n", "its lab file {} is of the lab other now"),
    ],
)
def test_a_file_speaks_for_the_lab_that_it_names(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    assert why_without_file("demo", path) == why.format(path)
