"""Guests that do not come up, each in another way: `up` ends with the stage, and the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from labrun.tasks.provision.image_import import import_image
from labrun.tasks.provision.image_volume import volume_name
from labrun.tasks.provision.volumes import delete_volume, find_pool, image_pool
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import Answer, RunningLab
from tests.tiny_guest import boot_sector, tiny_disk

pytestmark = pytest.mark.lxc

LAB = "e2e-ready"
NET = "10.234.1"
_SEED = "/var/lib/cloud/seed/nocloud"


def at_boot(command: str, when: str, kind: str = "oneshot") -> str:
    """Return what has a boot run a command; ``when`` is further lines of its unit, ``kind`` its type."""
    unit = f"[Unit]\\nDefaultDependencies=no\\n{when}\\n[Service]\\nType={kind}\\nExecStart={command}"
    install = "[Install]\\nWantedBy=multi-user.target"
    where = "/etc/systemd/system/breaks.service"
    return f"printf '{unit}\\n{install}\\n' >{where}; systemctl -q enable breaks.service"


@dataclass(frozen=True)
class Break:
    """What breaks a host's next boot, and the stage and reason that `up` must then give for it."""

    script: str
    stage: str
    why: str
    status: str = "unreachable"


BREAKS = {
    "crashed": Break(
        "echo 'raise ValueError(\"no such seed\")' >/usr/lib/labrun/cloud-init-all",
        "cloud-init",
        "cloud-init: labrun-cloud-init.service failed (exit-code): ValueError: no such seed",
        "failed",
    ),
    "loops": Break(
        at_boot("/usr/bin/systemctl reboot --force", "Before=ssh.service\\nAfter=basic.target"),
        "ssh",
        "it restarts again and again, ",
    ),
    "stops": Break(
        at_boot("/usr/bin/systemctl poweroff --force", "Before=ssh.service\\nAfter=basic.target"),
        "ssh",
        "the machine stopped while booting",
    ),
    "masked": Break("systemctl -q mask ssh", "ssh", "sshd is not running: ssh.service is masked"),
    "keys": Break("echo x >/home/lab/.ssh/authorized_keys", "ssh", "labrun's key is not in /home/lab/.ssh/"),
    "hostkey": Break(
        "cd /etc/ssh; rm ssh_host_*; ssh-keygen -qt ed25519 -N '' -f ssh_host_ed25519_key",
        "ssh",
        "its host key was changed",
    ),
    "nocloud": Break(
        "systemctl -q disable labrun-cloud-init",
        "cloud-init",
        "cloud-init has not run: labrun-cloud-init.service is inactive",
        "failed",
    ),
    "userdata": Break(
        f"sed -i 's/^instance-id: .*/instance-id: another/' {_SEED}/meta-data;"
        f" printf 'runcmd:\\n- [sh, -c, exit 3]\\n' >>{_SEED}/user-data",
        "cloud-init",
        "cloud-init: ",
        "failed",
    ),
    "nonet": Break("systemctl -q mask NetworkManager", "ssh", "eth0 is down (NetworkManager is masked)"),
    "rescue": Break(
        "systemctl -q set-default rescue.target", "ssh", "it is in rescue mode (systemd: maintenance)"
    ),
    "hangs": Break(at_boot("/bin/sleep 600", "Before=ssh.service"), "ssh", "it is still booting (systemd: "),
    "noipv6": Break(
        at_boot(
            '/bin/sh -c "while sleep 0.2; do echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; done"',
            "After=NetworkManager.service",
            "simple",
        ),
        "",
        "net.ipv6.conf.eth0.disable_ipv6 is 1: `labrun configure` sets it",
        "pending",
    ),
}
# In `make test`: what cloud-init says itself, and a machine that has to be watched.
OFTEN = ("crashed", "loops")
SELDOM = tuple(name for name in BREAKS if name not in OFTEN)


def broken(names: tuple[str, ...], directory: Path) -> Answer:
    """Make a host for each break, break it, start it again and return what `up` says."""
    text = (
        f"name: {LAB}\nhypervisor: lxc:///system\ndefaults: {{image: debian-12, memory: 128}}\n"
        f"networks: {{left: {{mode: isolated, cidr: {NET}.0/24, cidr6: 'fd00:234::/64', dhcp: false}}}}\n"
        "hosts:\n"
    )
    for number, name in enumerate(names, 11):
        text += f"  {name}: {{networks: {{left: {{ipv4: {NET}.{number}, ipv6: 'fd00:234::{number}'}}}}}}\n"
    lab = write_lab(directory, text)
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        for name in names:
            inside(f"{LAB}-{name}", BREAKS[name].script)
        assert lab.json("stop").exit_code == 0
        # The limits of the stages, but for what would wait for the longest of them.
        return lab.json("up", *(["--timeout", "75"] if "hangs" in names else []))
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="module")
def often(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    return broken(OFTEN, tmp_path_factory.mktemp("often"))


@pytest.fixture(scope="module")
def seldom(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    return broken(SELDOM, tmp_path_factory.mktemp("seldom"))


def judge(answer: Answer, name: str) -> None:
    (row,) = answer.of("ready", name)
    expected = BREAKS[name]
    assert row["status"] == expected.status, row
    assert row["actual"] == f"stage {expected.stage}" or not expected.stage, row
    assert expected.why in row["why"].partition("\nlast lines of its console:")[0], row["why"]
    # None of them waits for the end of its time, two minutes.
    if name != "hangs":
        assert row["seconds"] < 115, row


@pytest.mark.parametrize("name", OFTEN)
def test_what_keeps_a_host_from_coming_up_is_named(often: Answer, name: str) -> None:
    judge(often, name)


@pytest.mark.full
@pytest.mark.parametrize("name", SELDOM)
def test_what_else_keeps_a_host_from_coming_up_is_named(seldom: Answer, name: str) -> None:
    judge(seldom, name)


@pytest.mark.full
def test_a_container_that_runs_out_of_memory_says_so(make_lab: Callable[[str], RunningLab]) -> None:
    lab = make_lab(
        f"name: {LAB}-memory\nhypervisor: lxc:///system\ndefaults: {{image: debian-12, memory: 32}}\n"
        "networks: {left: {mode: isolated, cidr: 10.234.2.0/24}}\n"
        "hosts: {one: {networks: {left: 10.234.2.11}}}\n"
    )
    up = lab.json("up", "--timeout", "60")
    (row,) = up.of("ready", "one")
    assert row["status"] in ("unreachable", "failed"), row
    assert "it has run out of its memory of 32 MiB: python3 was killed" in row["why"], row["why"]


TINY = """\
name: e2e-ready-{name}
hypervisor: qemu:///system
defaults: {{image: {image}, memory: 32, disk: 1}}
networks: {{left: {{mode: isolated, cidr: 10.234.3.0/24}}}}
hosts: {{one: {{networks: {{left: 10.234.3.11}}}}}}
"""
_PANIC = b"[    4.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
SECTORS = {
    # What the machine prints and does, and why it is not ready.
    "silent": (b"", False, "its disk does not boot: "),
    "panics": (_PANIC, False, "kernel panic: Attempted to kill init! exitcode=0x00000100; "),
    "again": (_PANIC, True, "it restarts again and again, "),
    "empty": (
        b"Booting from Hard Disk...\r\nBoot failed: not a bootable disk\r\nNo bootable device.\r\n",
        False,
        "its firmware finds nothing that boots; ",
    ),
}


@contextmanager
def tiny_image(name: str, sector: bytes, directory: Path) -> Iterator[None]:
    """Import an image of one boot sector for the block."""
    import_image(tiny_disk(directory / "tiny.qcow2", sector=sector), name)
    volume = volume_name(name)
    try:
        yield
    finally:
        connection = libvirt.open("qemu:///system")
        pool = find_pool(connection, image_pool())
        if pool is not None and volume is not None:
            delete_volume(pool, volume)


@pytest.mark.full
@pytest.mark.parametrize("name", SECTORS)
def test_a_machine_whose_disk_does_not_get_to_a_login(
    make_lab: Callable[[str], RunningLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path / "images"))
    text, restarts, why = SECTORS[name]
    image = f"t-ready-{name}"
    with tiny_image(image, boot_sector(text, restarts=restarts), tmp_path):
        lab = make_lab(TINY.format(name=name, image=image))
        began = time.monotonic()
        up = lab.json("up")
        # The time limit of a boot is ten minutes.
        assert time.monotonic() - began < 300
        assert up.exit_code == 4, up.rows
        (row,) = up.of("ready", "one")
        assert (row["status"], row["actual"]) == ("unreachable", "stage ssh")
        assert row["why"].startswith(why), row["why"]
        assert lab.run("-y", "down").exit_code == 0
