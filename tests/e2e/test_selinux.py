"""SELinux's mode on a machine whose kernel runs it: Debian's has it built in, and no policy comes with it."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

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

# The kernel knows its first objects by their place in this list (policy version 33 of Linux 6.1).
SIDS = """\
kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket
tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod
policy scmp_packet devnull\
"""
# One user, role and type. A class that is not defined is allowed whole; the kernel insists on `process`.
POLICY = f"""\
(handleunknown allow)
(mls false)
(class process (transition dyntransition))
(classorder (process))
{" ".join(f"(sid {sid})" for sid in SIDS.split())}
(sidorder ({SIDS}))
(sensitivity s0)
(sensitivityorder (s0))
(level low (s0))
(levelrange all (low low))
(user u)
(role r)
(type t)
(userrole u r)
(roletype r t)
(userlevel u low)
(userrange u all)
(allow t t (process (transition dyntransition)))
{" ".join(f"(sidcontext {sid} (u r t all))" for sid in SIDS.split())}
"""
# What sshd and PAM read to tell which context a login gets; then the running kernel takes the policy.
LOAD = """\
set -eu
mkdir -p /etc/selinux/labtest/policy /etc/selinux/labtest/contexts/files
cd /etc/selinux/labtest
echo {binary} | base64 -d >policy/policy.33
echo __default__:u >seusers
echo r:t r:t >contexts/default_contexts
echo r:t | tee contexts/failsafe_context >contexts/default_type
echo '.* u:object_r:t' >contexts/files/file_contexts
printf 'SELINUX=permissive\\nSELINUXTYPE=labtest\\n' >/etc/selinux/config
cat policy/policy.33 >/sys/fs/selinux/load
"""
STATE = "cat /sys/fs/selinux/enforce; echo; cat /etc/selinux/config"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A machine that was booted with SELinux."""
    lab = write_lab(tmp_path_factory.mktemp("selinux"), LAB)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        lab.guest("one", "sed -i '/^linux/s/$/ security=selinux/' /boot/grub/grub.cfg; sync")
        assert lab.run("restart").exit_code == 0
        again = lab.json("up")
        assert again.exit_code == 0, again.trouble()
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


@pytest.fixture(scope="module")
def with_policy(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> RunningLab:
    """The same machine with a policy in its kernel that allows everything."""
    if shutil.which("secilc") is None:
        pytest.skip("no secilc here (Debian's package secilc) to compile a policy with")
    answer = lab.run(
        "ssh", "one", "sudo sh", stdin=LOAD.format(binary=compiled(tmp_path_factory.mktemp("cil")))
    )
    assert answer.exit_code == 0, answer.stderr
    assert lab.guest("one", "cat /proc/self/attr/current", sudo=False).rstrip("\0 \n") == "u:r:t"
    return lab


def compiled(directory: Path) -> str:
    """Return the policy as the kernel reads it, in base64."""
    (directory / "policy.cil").write_text(POLICY, encoding="ascii")
    command = ["secilc", "-c", "33", "-o", "policy.33", "-f", "file_contexts", "policy.cil"]
    subprocess.run(command, cwd=directory, check=True)
    return base64.b64encode((directory / "policy.33").read_bytes()).decode("ascii")


def state(lab: RunningLab) -> tuple[str, ...]:
    """Return what the kernel does and what the file says, seen over a new login."""
    return tuple(lab.guest("one", STATE, sudo=False).splitlines())


def test_enforcing_is_set_and_unset_over_logins_that_the_policy_lets_in(with_policy: RunningLab) -> None:
    lab = with_policy
    assert mode(lab, "permissive") == (0, "ok", "permissive", None)
    for wanted, number in (("enforcing", "1"), ("permissive", "0")):
        assert mode(lab, wanted) == (0, "changed", wanted, None)
        assert state(lab) == (number, f"SELINUX={wanted}", "SELINUXTYPE=labtest")
        assert mode(lab, wanted) == (0, "ok", wanted, None)


def test_enforcing_that_shuts_every_login_out_is_taken_back(with_policy: RunningLab) -> None:
    lab = with_policy
    before = state(lab)
    assert before == ("0", "SELINUX=permissive", "SELINUXTYPE=labtest")
    # Without these sshd finds no context for anybody, which only counts in enforcing mode.
    lab.guest("one", "mv /etc/selinux/labtest/contexts /etc/selinux/labtest/contexts.away")
    try:
        exit_code, status, actual, why = mode(lab, "enforcing")
        assert (exit_code, status, actual) == (1, "rolled-back", "permissive")
        assert why is not None
        assert why.startswith("the new login was lost: ")
        assert why.endswith("; the host rolled back")
        assert state(lab) == before
    finally:
        lab.guest("one", "mv /etc/selinux/labtest/contexts.away /etc/selinux/labtest/contexts")
    assert mode(lab, "enforcing")[:3] == (0, "changed", "enforcing")
    assert mode(lab, "permissive")[:3] == (0, "changed", "permissive")
