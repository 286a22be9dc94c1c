"""A virtual machine that loses its power inside the window: what was on its disk by then decides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

URI = "qemu:///system"
LAB = """\
name: grd-vm
hypervisor: qemu:///system
networks: {left: {mode: isolated, cidr: 10.60.3.0/24}}
hosts:
  one: {networks: {left: {ipv4: 10.60.3.11, nmcli: {PROPERTIES}}}SSHD}
"""
# A restarted kernel numbers sockets and processes anew; everything that configure holds is here.
STATE = """\
cd /etc; grep -r . NetworkManager/system-connections ssh/sshd_config.d sysctl.d
ls systemd/system systemd/system/sysinit.target.wants; ls /var/lib/labrun | grep -v begun
ip -brief -4 address show scope global; ip route; sshd -T | sort
"""


def state(lab: RunningLab) -> list[str]:
    answer = lab.run("ssh", "one", "sudo sh", stdin=STATE)
    assert answer.exit_code == 0, answer.stderr
    return [line for line in answer.stdout.splitlines() if line != "rolled-back"]


def lose_power() -> None:
    for action in ("destroy", "start"):
        subprocess.run(["virsh", "-q", "-c", URI, action, "grd-vm-one"], check=True)


@pytest.mark.vm
@pytest.mark.full
def test_a_new_machine_keeps_what_its_first_boot_wrote(hypervisor: None, tmp_path: Path) -> None:
    lab = write_lab(tmp_path, LAB.replace("PROPERTIES", "").replace("SSHD", ""))
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        lose_power()
        back = lab.json("up")
        assert back.exit_code == 0, back.trouble()
    finally:
        lab.run("-y", "down")


@pytest.mark.vm
@pytest.mark.full
def test_a_machine_without_power_comes_back_as_it_was(hypervisor: None, tmp_path: Path) -> None:
    good = LAB.replace("PROPERTIES", "").replace("SSHD", "")
    lab = write_lab(tmp_path, good)
    path = tmp_path / "bad.yaml"
    bad = LAB.replace("PROPERTIES", "ipv4.addresses: 10.99.0.5/24")
    path.write_text(bad.replace("SSHD", ", sshd: {AllowUsers: lab@192.0.2.1}"), encoding="utf-8")
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        before = state(lab)
        wrong = RunningLab(path, lab.state)
        arguments = wrong.arguments("configure", "--confirm-timeout", "3600")
        with subprocess.Popen(
            arguments,
            env=wrong.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert any(": confirm" in line for line in process.stderr)
            process.kill()
        lose_power()
        back = lab.json("up")
        assert back.exit_code == 0, back.trouble()
        assert state(lab) == before
        assert lab.guest("one", "cat /var/lib/labrun/rolled-back").split()[1:] == ["boot"]
        again = lab.json("configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    finally:
        lab.run("-y", "down")


@pytest.mark.vm
@pytest.mark.full
@pytest.mark.parametrize(
    "values",
    [
        "vm.overcommit_memory: 2, vm.overcommit_ratio: 0",
        "kernel.pid_max: 301",
        "kernel.threads-max: 20",
        "vm.min_free_kbytes: 300000",
        "kernel.modules_disabled: 1, net.ipv4.ip_default_ttl: banana",
    ],
)
def test_values_of_the_whole_kernel_leave_a_way_in(hypervisor: None, tmp_path: Path, values: str) -> None:
    good = LAB.replace("PROPERTIES", "").replace("SSHD", "")
    lab = write_lab(tmp_path, good)
    path = tmp_path / "bad.yaml"
    bad = LAB.replace("PROPERTIES", "").replace("SSHD", f", sysctl: {{{values}}}")
    path.write_text(bad, encoding="utf-8")
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        before = state(lab)
        answer = RunningLab(path, lab.state).json("configure")
        rows = answer.of("sysctl", "one")
        assert {row["status"] for row in rows} <= {"changed", "failed", "rolled-back"}, rows
        if "changed" not in {row["status"] for row in rows}:
            assert state(lab) == before
        lose_power()
        back = lab.json("up")
        assert back.exit_code == 0, back.trouble()
    finally:
        lab.run("-y", "down")
