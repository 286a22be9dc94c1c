"""`images` of a lab file: `plan` says what `up` would bring, `up` brings it, and a second `up` nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import libvirt
import pytest

from labrun.tasks.provision.image_removal import remove_image
from labrun.tasks.provision.image_users import find_users
from labrun.tasks.provision.image_volume import find_image_volume
from labrun.tasks.provision.volumes import delete_volume, find_pool, image_pool
from tests.image_server import Shelf, image_server
from tests.labs import RunningLab
from tests.unit.tasks.provision.image_files import needs_qemu_img, qcow2

pytestmark = needs_qemu_img
LAB = """\
name: {name}
hypervisor: qemu:///system
defaults: {{image: {image}, memory: 64, disk: 1}}
networks: {{n: {{mode: isolated, cidr: 10.224.9.0/24}}}}
hosts: {{one: {{networks: {{n: 10.224.9.11}}}}}}
images:
  far: {{url: "{url}", sha256: {sha256}}}
  near: {{path: near.qcow2}}
  gone: {{path: gone.qcow2}}
  wrong: {{path: wrong.qcow2}}
  built: {{build: debian-12}}
"""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with image_server() as shelf:
        yield shelf


@dataclass
class _Lab(RunningLab):
    """A lab whose image can be changed between two commands."""

    name: str = ""
    text: str = ""

    def use(self, image: str) -> None:
        self.path.write_text(self.text.replace("IMAGE", image))


@pytest.fixture
def lab(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Lab]:
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    data = qcow2(tmp_path / "far.qcow2").read_bytes()
    qcow2(tmp_path / "near.qcow2", content=b"near")
    (tmp_path / "wrong.qcow2").write_bytes(b"<html>")
    url, name = shelf.put("/far.qcow2", data), f"t-{uuid4().hex[:8]}"
    lab = _Lab(tmp_path / "lab.yaml", tmp_path / "state", name=name)
    lab.env |= {"LABRUN_IMAGE_DIR": str(tmp_path / "images"), "no_proxy": "127.0.0.1"}
    lab.text = LAB.format(name=name, image="IMAGE", url=url, sha256=hashlib.sha256(data).hexdigest())
    lab.use("far")
    yield lab
    assert lab.run("-y", "down").exit_code == 0
    for image in ("far", "near"):
        if (tmp_path / "images" / f"{name}.{image}").exists():
            remove_image(f"{name}.{image}", find_users())


def _image(lab: _Lab, *command: str) -> tuple[int, dict[str, object]]:
    answer = lab.json(*command)
    (row,) = answer.of("image")
    return answer.exit_code, row


def test_an_address_is_downloaded_by_up_alone_and_once(lab: _Lab, shelf: Shelf) -> None:
    code, row = _image(lab, "plan")
    assert (code, row["status"], row["actual"]) == (3, "would-change", "qemu: would be downloaded")
    assert lab.run("validate").exit_code == 0
    assert shelf.asked == []
    code, row = _image(lab, "up", "--no-wait")
    assert (code, row["status"], row["actual"]) == (0, "changed", "qemu: downloaded, uploaded")
    assert shelf.asked == [("/far.qcow2", "")]
    (image,) = lab.json("image", "list").document["images"]
    assert image["name"] == f"{lab.name}.far"
    assert image["used_by"] == [f"{lab.name}/one"]
    code, row = _image(lab, "plan")
    assert (code, row["status"]) == (0, "ok")
    assert lab.json("up", "--no-wait").statuses() <= {"ok", "skipped"}
    assert len(shelf.asked) == 1


@pytest.mark.full
def test_an_image_that_is_gone_is_not_brought_for_machines_that_are_there(lab: _Lab, tmp_path: Path) -> None:
    stored = f"{lab.name}.far"
    assert lab.run("up", "--no-wait").exit_code == 0
    # labrun removes none that has users, so by hand.
    connection = libvirt.open("qemu:///system")
    pool, volume = find_pool(connection, image_pool()), find_image_volume(connection, image_pool(), stored)
    assert volume is not None
    delete_volume(pool, volume.name())
    (tmp_path / "images" / stored).unlink()
    code, row = _image(lab, "plan")
    assert (code, row["status"], row["actual"]) == (0, "skipped", "qemu: absent")
    assert row["why"] == "its machines are there: none is made from it"
    assert lab.json("up", "--no-wait").exit_code == 0
    # One that has to be made needs it.
    assert lab.json("-y", "down").exit_code == 0
    assert _image(lab, "plan")[1]["status"] == "would-change"


@pytest.mark.full
def test_what_the_server_changed_makes_no_machine(lab: _Lab, shelf: Shelf) -> None:
    shelf.put("/far.qcow2", b"something else")
    code, row = _image(lab, "up", "--no-wait")
    assert (code, row["status"]) == (1, "failed")
    assert str(row["why"]).startswith(
        f"image: what came from {shelf.url}/far.qcow2 has another checksum: sha256 "
    )
    domains = libvirt.open("qemu:///system").listAllDomains()
    assert not [each for each in domains if each.name().startswith(lab.name)]


@pytest.mark.full
def test_a_file_is_imported_and_a_new_one_is_for_new_machines(lab: _Lab, tmp_path: Path) -> None:
    lab.use("near")
    code, row = _image(lab, "plan")
    assert (code, row["status"], row["actual"]) == (3, "would-change", "qemu: would be imported")
    code, row = _image(lab, "up", "--no-wait")
    assert (code, row["status"], row["actual"]) == (0, "changed", "qemu: imported, uploaded")
    assert _image(lab, "plan")[1]["status"] == "ok"
    qcow2(tmp_path / "near.qcow2", content=b"newer")
    assert _image(lab, "plan")[1]["status"] == "ok"
    code, row = _image(lab, "-y", "up", "--no-wait", "--recreate", "--hosts", "one")
    assert (code, row["status"], row["actual"]) == (0, "changed", "qemu: imported, uploaded")


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("gone", "there is no file {folder}/gone.qcow2"),
        (
            "wrong",
            "{folder}/wrong.qcow2 is a web page, not an image (look at what the server says, with a browser)",
        ),
        ("almalinux-9", "the image almalinux-9 has no disk for VMs (labrun image pull almalinux-9)"),
    ],
)
def test_plan_refuses_what_cannot_be_a_machine(image: str, why: str, lab: _Lab, tmp_path: Path) -> None:
    lab.use(image)
    for command in ("plan", "up"):
        code, row = _image(lab, command)
        assert (code, row["status"], row["why"]) == (5, "failed", why.format(folder=tmp_path))


def test_a_file_outside_the_lab_s_folder_is_refused(lab: _Lab, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    text = lab.path.read_text()
    (outside / "lab.yaml").write_text(text.replace("path: near.qcow2", "path: ../near.qcow2", 1))
    other = RunningLab(outside / "lab.yaml", tmp_path / "state2")
    done = other.run("validate")
    assert done.exit_code == 2
    assert (
        'images.near.path: "../near.qcow2" is outside the lab file\'s folder (--allow-outside' in done.stderr
    )
    assert other.run("--allow-outside", "validate").exit_code == 0


@pytest.mark.lxc
def test_a_container_is_made_from_what_labrun_builds(tmp_path: Path) -> None:
    """In the machine's own store, where debian-12 is: `build` finds it."""
    name = f"t-{uuid4().hex[:8]}"
    path = tmp_path / "lab.yaml"
    text = LAB.format(name=name, image="built", url="http://127.0.0.1:1/x", sha256="0" * 64)
    path.write_text(text.replace("qemu:///system", "lxc:///system"))
    lab = RunningLab(path, tmp_path / "state")
    try:
        up = lab.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        assert [row["name"] for row in up.of("image")] == ["debian-12"]
        images = {each["name"]: each for each in lab.json("image", "list").document["images"]}
        assert f"{name}/one" in images["debian-12"]["used_by"]
        refused = lab.json("image", "remove", "debian-12")
        assert refused.exit_code == 1
        assert f"{name}/one" in refused.rows[0]["why"]
        path.write_text(path.read_text().replace("image: built", "image: far"))
        (row,) = lab.json("plan").of("image")
        assert (row["status"], row["why"]) == (
            "failed",
            "it is for VMs (containers are made from debian-12, which `labrun image build` makes)",
        )
    finally:
        path.write_text(path.read_text().replace("image: far", "image: built"))
        assert lab.run("-y", "down").exit_code == 0
