"""What the kernel of a hypervisor says of containers that have used up their memory."""

from __future__ import annotations

import pytest

from labrun.tasks.out_of_band.usage import killed_in

# As a kernel logged it (6.18, control groups of version 1), and as systemd names groups on version 2.
LOG = """\
[14105.490913] chpasswd invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[14105.491277] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=lxc-957-a-one.libvirt-lxc,\
mems_allowed=0,oom_memcg=/machine/lxc-957-a-one.libvirt-lxc,\
task_memcg=/machine/lxc-957-a-one.libvirt-lxc/system.slice/x.service,\
task=python3,pid=10678,uid=0
[14105.491296] Memory cgroup out of memory: Killed process 10678 (python3) total-vm:35592kB, anon-rss:18560kB
[14106.100000] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
oom_memcg=/machine.slice/machine-lxc\\x2d958\\x2db\\x2dtwo.scope,task_memcg=/x,task=(sd-pam),pid=7,uid=0
[14107.000000] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
task_memcg=/machine/lxc-957-a-one.libvirt-lxc,task=qemu-system-x86,pid=8,uid=0
"""


@pytest.mark.parametrize(
    ("controller", "killed"), [(957, ("python3",)), (958, ("(sd-pam)",)), (95, ()), (57, ())]
)
def test_only_the_container_s_own_limit_counts(controller: int, killed: tuple[str, ...]) -> None:
    assert killed_in(LOG, controller) == killed


@pytest.mark.parametrize("log", ["", "oom-kill:", "\0" * 100, "oom-kill:constraint=CONSTRAINT_MEMCG" * 1000])
def test_a_log_without_it(log: str) -> None:
    assert killed_in(log, 957) == ()
