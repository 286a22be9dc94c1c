"""SELinux's mode on a machine whose kernel runs it: Debian's has it built in, and no policy comes with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

LAB = """\
name: res-se
hypervisor: qemu:///system
defaults: {image: debian-12, memory: 384}
networks:
  left: {mode: isolated, cidr: 10.62.32.0/24}
hosts:
  one: {networks: {left: 10.62.32.11}}
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A machine that was booted with SELinux."""
    lab = write_lab(tmp_path_factory.mktemp("selinux"), LAB)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.bad() or up.stderr
        lab.guest("one", "sed -i '/^linux/s/$/ security=selinux/' /boot/grub/grub.cfg; sync")
        assert lab.run("restart").exit_code == 0
        again = lab.json("up")
        assert again.exit_code == 0, again.bad() or again.stderr
        assert lab.guest("one", "cat /sys/fs/selinux/enforce", sudo=False) == "0"
        yield lab
    finally:
        lab.run("-y", "down")


def mode(lab: RunningLab, wanted: str) -> tuple[int, str, str, str | None]:
    """Ask for a mode; the exit code and the row."""
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace("10.62.32.11}", f"10.62.32.11}}, selinux: {wanted}"), encoding="utf-8")
    answer = RunningLab(path, lab.state).json("configure", "--only", "selinux")
    (row,) = answer.rows
    return answer.exit_code, row["status"], row["actual"], row["why"]


def test_each_mode_is_held_as_far_as_a_running_kernel_lets_it(lab: RunningLab) -> None:
    without = "no SELinux policy is installed here, and without one the next boot would halt"
    assert mode(lab, "enforcing") == (1, "failed", "permissive (disabled after a reboot)", without)
    assert lab.guest("one", "ls /etc/selinux") == "semanage.conf\n"

    assert mode(lab, "permissive") == (0, "changed", "permissive", None)
    assert mode(lab, "permissive") == (0, "ok", "permissive", None)
    assert lab.guest("one", "cat /etc/selinux/config") == "SELINUX=permissive\nSELINUXTYPE=default\n"

    owed = "permissive (disabled after a reboot)"
    assert mode(lab, "disabled")[:3] == (0, "changed", owed)
    assert mode(lab, "disabled") == (0, "ok", owed, None)
    assert lab.guest("one", "cat /etc/selinux/config /sys/fs/selinux/enforce") == (
        "SELINUX=disabled\nSELINUXTYPE=default\n0"
    )

    lab.guest("one", "echo SELINUX=permissive >/etc/selinux/config")
    assert mode(lab, "permissive") == (0, "ok", "permissive", None)
