"""scripts/hypervisor in a world of its own: /run and libvirt's directories are private, libvirtd is real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import places

SCRIPT = places.ROOT / "scripts" / "hypervisor"
GUEST = "t-hypervisor-script"

_SETUP = r"""
set -eu
umount -lR /run/labrun-hypervisor /run/netns 2>/dev/null || true
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/etc-libvirt/qemu /run/etc-libvirt/lxc
cp /etc/libvirt/*.conf /run/etc-libvirt
mount --bind /run/etc-libvirt /etc/libvirt
mount -t tmpfs tmpfs /var/log/libvirt
mount -t tmpfs tmpfs /var/lib/libvirt
mkdir -p /var/lib/libvirt/qemu /var/lib/libvirt/dnsmasq
chown libvirt-qemu /var/lib/libvirt/qemu
echo ready
exec cat
"""

_NETWORK = "<network><name>iso</name><ip address='10.99.0.1' netmask='255.255.255.0'/></network>"
_DOMAIN = f"""
<domain type='lxc'><name>{GUEST}</name><memory unit='MiB'>64</memory>
<os><type>exe</type><init>/bin/sleep</init><initarg>900</initarg></os>
<devices><interface type='network'><source network='iso'/></interface><console type='pty'/></devices></domain>
"""


def _can_run() -> bool:
    comm = Path("/proc/1/comm").read_text().strip()
    return os.geteuid() == 0 and comm != "systemd" and Path("/usr/sbin/libvirtd").exists()


pytestmark = [
    pytest.mark.lxc,
    pytest.mark.skipif(not _can_run(), reason="needs root, libvirtd, and no systemd as PID 1"),
]


class World:
    """A mount namespace in which nothing of this machine's own libvirtd is to be seen."""

    def __init__(self) -> None:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SETUP]
        self._keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"

    def run(self, *command: str | Path, feed: str = "") -> subprocess.CompletedProcess[str]:
        inside = [
            "nsenter",
            "--target",
            str(self._keeper.pid),
            "--mount",
            f"--wd={Path.cwd()}",
            "--",
            *map(str, command),
        ]
        return subprocess.run(inside, input=feed, capture_output=True, text=True, check=False, timeout=120)

    def hypervisor(self, *arguments: str) -> tuple[int, str]:
        done = self.run(SCRIPT, *arguments)
        return done.returncode, done.stderr

    def virsh(self, *arguments: str, feed: str = "") -> str:
        done = self.run("virsh", "-q", "-c", "lxc:///system", *arguments, feed=feed)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pid(self, name: str) -> int:
        return int(self.run("cat", f"/run/{name}.pid").stdout)

    def start_guest(self) -> int:
        """Start libvirtd, and a container on a network; return its init's process id."""
        code, said = self.hypervisor("start")
        assert code == 0, said
        for what, xml, name in (("net-", _NETWORK, "iso"), ("", _DOMAIN, GUEST)):
            self.virsh(f"{what}define", "/dev/stdin", feed=xml)
            self.virsh(f"{what}start", name)
        controller = int(self.virsh("domid", GUEST))
        return int(Path(f"/proc/{controller}/task/{controller}/children").read_text())

    def close(self) -> None:
        self.hypervisor("stop", "--force")
        self._keeper.communicate(timeout=10)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _running(pid: int) -> str:
    reached = "guests are reached by: scripts/hypervisor enter"
    return f"hypervisor: running (pid {pid}), namespace labrun; {reached}\n"


def test_it_starts_once_is_entered_and_stops_without_a_trace(world: World) -> None:
    assert world.hypervisor("status") == (3, "hypervisor: not running: scripts/hypervisor start\n")
    assert world.hypervisor("enter", "true") == (1, "hypervisor: not running: scripts/hypervisor start\n")
    code, said = world.hypervisor("start")
    daemon, log_daemon = world.pid("libvirtd"), world.pid("virtlogd")
    assert (code, said) == (0, _running(daemon))
    assert world.hypervisor("start") == (0, f"hypervisor: already running (pid {daemon})\n")
    assert world.hypervisor("status") == (
        0,
        f"hypervisor: running (pid {daemon}), namespace labrun, 0 guests\n",
    )
    inside = world.run(SCRIPT, "enter", "sh", "-c", "ls /sys/class/net; pwd; exit 7")
    assert (inside.returncode, inside.stdout) == (7, f"lo\n{Path.cwd()}\n")
    assert world.hypervisor("stop") == (0, "hypervisor: stopped\n")
    assert not _lives(daemon)
    assert not _lives(log_daemon)
    left = world.run("sh", "-c", "ls -A /run/netns; ls /run/labrun-hypervisor /run/libvirtd.pid").stdout
    assert left == ""


def test_a_killed_libvirtd_is_started_again_around_its_guests(world: World) -> None:
    init = world.start_guest()
    os.kill(world.pid("libvirtd"), signal.SIGKILL)
    assert world.hypervisor("status")[0] == 3
    code, said = world.hypervisor("start")
    assert code == 0
    assert re.match(r"hypervisor: taking over running guests, pids: \d+\nhypervisor: running \(pid ", said)
    assert world.virsh("domstate", GUEST).strip() == "running"
    assert world.virsh("net-list", "--name").strip() == "iso"
    assert _lives(init)
    # Only the log daemon this time.
    os.kill(world.pid("virtlogd"), signal.SIGKILL)
    daemon = world.pid("libvirtd")
    assert world.hypervisor("start") == (0, f"hypervisor: already running (pid {daemon})\n")
    assert _lives(world.pid("virtlogd"))


def test_guests_are_only_ended_by_force(world: World) -> None:
    init = world.start_guest()
    refusal = (
        "hypervisor: 1 guests are still running: take the labs down first (labrun list), or stop --force\n"
    )
    assert world.hypervisor("stop") == (1, refusal)
    assert _lives(init)
    assert world.hypervisor("stop", "--force") == (0, "hypervisor: stopped\n")
    assert not _lives(init)
    assert list(Path("/sys/fs/cgroup").glob(f"*/machine/lxc-*{GUEST}*")) == []


@pytest.mark.parametrize(
    "lost", ["/run/labrun-hypervisor/mnt", pytest.param("/run/netns/labrun", marks=pytest.mark.full)]
)
def test_guests_nobody_can_reach_any_more_are_ended_and_can_be_started_anew(world: World, lost: str) -> None:
    init = world.start_guest()
    os.kill(world.pid("libvirtd"), signal.SIGKILL)
    world.run("umount", "-l", lost)
    code, said = world.hypervisor("start")
    assert code == 0
    assert said.startswith("hypervisor: ending guests whose namespaces can no longer be entered, pids: ")
    assert not _lives(init)
    assert world.virsh("domstate", GUEST).strip() == "shut off"
    world.virsh("net-start", "iso")
    world.virsh("start", GUEST)


def test_what_a_lost_machine_left_on_the_disk_does_not_matter(world: World) -> None:
    world.run("mkdir", "-p", "/run/netns", "/run/labrun-hypervisor", "/run/libvirt", "/run/dbus")
    for path in ("/run/netns/labrun", "/run/labrun-hypervisor/mnt", "/run/libvirt/libvirt-sock"):
        world.run("touch", path)
    world.run("sh", "-c", "echo another-boot 1 2 >/run/labrun-hypervisor/ids")
    for name, pid in (("libvirtd", "1"), ("virtlogd", "99999999"), ("dbus/", "5")):
        world.run("sh", "-c", f"echo {pid} >/run/{name.replace('/', '/pid')}{'' if '/' in name else '.pid'}")
    code, said = world.hypervisor("start")
    assert (code, said) == (0, _running(world.pid("libvirtd")))


@pytest.mark.full
def test_a_hanging_libvirtd_is_replaced(world: World) -> None:
    init = world.start_guest()
    os.kill(world.pid("libvirtd"), signal.SIGSTOP)
    began = time.monotonic()
    assert world.hypervisor("start")[0] == 0
    assert time.monotonic() - began < 60
    assert world.virsh("domstate", GUEST).strip() == "running"
    assert _lives(init)


def test_an_unknown_verb_shows_the_usage(world: World) -> None:
    code, said = world.hypervisor("restart")
    assert code == 2
    assert said == f"usage: {SCRIPT} start|stop [--force]|status|enter [CMD..]|prepare\n"
