"""A remote hypervisor whose libvirt is newer than labrun's: as root and as a user in the group libvirt."""

from __future__ import annotations

import libvirt
import pytest

from tests.second_hypervisor import SecondHypervisor, lab_on
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.lxc, pytest.mark.vm, pytest.mark.full, pytest.mark.timeout(1800)]

TINY = """\
name: {name}
hypervisor: {uri}
defaults: {{image: tiny, memory: 64, disk: 1}}
networks: {{n: {{mode: isolated, cidr: 10.199.1.0/24}}}}
hosts: {{one: {{networks: {{n: 10.199.1.11}}}}, two: {{networks: {{n: dhcp}}}}}}
images: {{tiny: {{path: tiny.qcow2}}}}
"""
DEBIAN = """\
name: e2e-newer
hypervisor: {uri}
defaults: {{image: debian-12, memory: 384, disk: 3}}
networks: {{n: {{mode: nat, cidr: 10.199.2.0/24}}}}
hosts: {{one: {{networks: {{n: 10.199.2.11}}}}}}
"""


def test_its_libvirt_is_another_one(newer: SecondHypervisor) -> None:
    major, minor = (libvirt.getVersion() // divisor % 1000 for divisor in (1_000_000, 1000))
    assert [int(part) for part in newer.version().split(".")[:2]] > [major, minor]


@pytest.mark.parametrize("user", ["root", "lab"])
def test_machines_come_and_go_and_leave_nothing(
    user: str, newer: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp(user)
    tiny_disk(folder / "tiny.qcow2")
    lab = lab_on(newer, folder, TINY.format(name=f"e2e-newer-{user}", uri=newer.uri(user)))
    lab.env["LABRUN_IMAGE_DIR"] = str(folder / "images")
    try:
        up = lab.json("up", "--no-wait")
        assert up.exit_code == 0, [row["why"] for row in up.bad()]
        assert [row["actual"] for row in up.of("image")] == ["qemu: imported, uploaded"]
        assert lab.json("up", "--no-wait").statuses() <= {"ok", "skipped"}
        hosts = lab.json("status").document["hosts"]
        assert [(host["name"], host["state"]) for host in hosts] == [("one", "running"), ("two", "running")]
        # Nothing in it hears of a power button.
        assert lab.json("-y", "stop", "--hosts", "one", "--timeout", "5").exit_code == 0
        again = lab.json("up", "--no-wait")
        assert [row["host"] for row in again.of("machine") if row["status"] == "changed"] == ["one"]
    finally:
        down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert newer.leftovers() == ""


def test_a_debian_there_is_configured_verified_and_removed(
    newer: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab = lab_on(newer, tmp_path_factory.mktemp("debian"), DEBIAN.format(uri=newer.uri("lab")))
    try:
        up = lab.json("--timeout", "1500", "up", "--configure")
        assert up.exit_code == 0, [row["why"] for row in up.bad()]
        assert lab.json("up", "--configure").statuses() <= {"ok", "skipped"}
        assert lab.run("ssh", "one", "hostname").stdout == "one\n"
        assert lab.run("exec", "--via", "agent", "hostname").stdout == "one: one\n"
        assert lab.json("verify").exit_code == 0
        assert lab.json("drift").exit_code == 0
    finally:
        down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert newer.leftovers() == ""
