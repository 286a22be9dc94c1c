"""The qemu driver with the real image: one boot, from the seed to an orderly power-off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any
from uuid import uuid4

import pytest
import yaml

from labrun.errors import ConnectionLostError, HypervisorError
from labrun.hypervisor import connect
from labrun.ports import Lease, Transport
from labrun.tasks.provision.agent import agent_leases
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.qemu import QemuDriver
from tests.leftovers import note

URI = "qemu:///system"
IMAGE = "debian-12"
BOOT_SECONDS = 300.0
MAC, SECOND_MAC = "02:07:c8:00:00:01", "02:07:c8:00:00:02"


def _can_run() -> bool:
    try:
        return bool(connect(URI).isAlive()) and image_paths(IMAGE).disk.is_file()
    except HypervisorError:
        return False


# Real VMs boot in CI too, in tests/e2e/test_vms.py; this one looks closer at a single one.
pytestmark = [
    pytest.mark.vm,
    pytest.mark.full,
    pytest.mark.skipif(not _can_run(), reason=f"needs libvirtd and {IMAGE}"),
]


def _until(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.2)
    return found


@pytest.fixture
def network() -> Iterator[str]:
    name = note(f"t-{uuid4().hex[:8]}")
    handle = connect(URI).networkCreateXML(
        f"<network><name>{name}</name><bridge stp='off' delay='0'/></network>"
    )
    yield name
    handle.destroy()


@pytest.fixture
def spec(network: str) -> Iterator[MachineSpec]:
    lab = note(f"t-{uuid4().hex[:8]}")
    config = {
        "version": 2,
        "ethernets": {"eth0": {"match": {"macaddress": MAC}, "addresses": ["10.7.200.2/24"]}},
    }
    seed = Seed(
        meta_data=yaml.safe_dump({"instance-id": lab, "local-hostname": "h1"}),
        user_data="#cloud-config\n" + yaml.safe_dump({"hostname": "h1"}),
        network_config=yaml.safe_dump(config),
    )
    yield MachineSpec(
        lab, "h1", f"{lab}-h1", IMAGE, 512, 1, 10, (NicSpec(MAC, network),), seed=seed, user="lab"
    )
    driver = QemuDriver(URI)
    driver.remove(lab, "h1", f"{lab}-h1")
    driver.remove_lab(lab)


def _check_scripts(inside: Transport) -> None:
    done = inside.run("id -u; hostname; echo oops >&2; exit 3", timeout=30)
    assert (done.exit_status, done.stdout, done.stderr) == (3, "0\nh1\n", "oops\n")
    assert inside.run("kill -9 $$", timeout=30).exit_status == 137
    long = "#" * 200_000 + "\nhead -c 200000 /dev/zero | tr '\\0' a\n"
    assert inside.run(long, timeout=60).stdout == "a" * 200_000
    assert inside.run("ls /run | grep labrun-script", timeout=30).stdout == ""
    with pytest.raises(ConnectionLostError, match=r"^h1: agent: no end after \d+ s$"):
        inside.run("sleep 4321 & sleep 4321", timeout=1)
    assert inside.run("pgrep -x sleep -a | grep 4321", timeout=30).stdout == ""


def test_from_the_seed_to_an_orderly_end(spec: MachineSpec, network: str) -> None:
    driver = QemuDriver(URI)
    driver.prepare_image(IMAGE)
    driver.create(spec)
    driver.start(spec)
    domain = connect(URI).lookupByName(spec.domain)

    inside: Transport = _until(lambda: driver.out_of_band(spec.domain), BOOT_SECONDS)
    _until(lambda: agent_leases(domain) == (Lease(MAC, IPv4Address("10.7.200.2"), "agent"),), BOOT_SECONDS)
    # The root file system fills the disk of the spec, not that of the image.
    _until(
        lambda: int(inside.run("df -BG --output=size / | tail -n 1 | tr -dc 0-9", timeout=30).stdout) >= 9, 60
    )
    _check_scripts(inside)

    second = replace(spec, nics=(*spec.nics, NicSpec(SECOND_MAC, network)))
    assert driver.update(second, ("nics",)) is True
    assert driver.restart_owed(spec.domain) == ()
    _until(lambda: SECOND_MAC in inside.run("cat /sys/class/net/*/address", timeout=30).stdout, 60)
    assert driver.update(spec, ("nics",)) is True
    assert driver.restart_owed(spec.domain) == ()
    assert SECOND_MAC not in inside.run("cat /sys/class/net/*/address", timeout=30).stdout

    began = time.monotonic()
    driver.stop(spec.domain, 120)
    assert time.monotonic() - began < 110
    assert "reboot: Power down" in driver.console_tail(spec.domain)
