"""The floor for `up` of virtual machines: the same definitions and disks, prepared untimed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.containers import WAIT, write_host_list
from benchmarks.labs import BenchLab
from labrun.hypervisor import connect
from labrun.key_pairs import make_host_key
from labrun.tasks.provision.networks import network_spec
from labrun.tasks.provision.qemu import QemuDriver
from labrun.tasks.provision.specs import machine_spec, seeded

__all__ = ["define_machines", "start_command"]

_START = r"""
set -eu
cd "$1"
virsh -q -c qemu:///system "$(cat networks)" >/dev/null
virsh -q -c qemu:///system "$(cat domains)" >/dev/null
pids=()
while read -r host; do
    ( WAIT ) &
    pids+=($!)
done <hosts
for pid in "${pids[@]}"; do wait "$pid"; done
"""


def _directory(lab: BenchLab) -> Path:
    return lab.directory / "by-hand"


def start_command(lab: BenchLab) -> list[str]:
    """Return the command line that starts everything and waits until each host accepts a login."""
    return ["bash", "-c", _START.replace("WAIT", WAIT), "start-by-hand", str(_directory(lab))]


def define_machines(lab: BenchLab) -> None:
    """Define networks and machines, with overlays and seeds, without starting them."""
    directory = _directory(lab)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    lab.state.ensure_keys()
    driver = QemuDriver(lab.uri)
    keys: dict[str, tuple[Sequence[str], str]] = {}
    names = []
    for host in lab.lab.hosts.values():
        key = make_host_key(host.name)
        bare = machine_spec(lab.lab, host)
        logins = (lab.state.public_key,)
        password = lab.state.console_password(host.name)
        spec = seeded(
            bare,
            lab.lab,
            instance=f"bench-{host.name}",
            host_key=key,
            login_keys=logins,
            password=password,
        )
        driver.prepare_image(spec.image)
        driver.create(spec)
        keys[host.name] = ((), key.public)
        names.append(spec.domain)
    lab.state.remember_host_keys(keys)
    connection = connect(lab.uri)
    specs = [network_spec(lab.lab, network, lab.uri) for network in lab.lab.networks.values()]
    for made in specs:
        connection.networkDefineXML(made.xml)
    starts = "; ".join(f"net-start {made.full_name}" for made in specs)
    (directory / "networks").write_text(starts, encoding="utf-8")
    domains = "; ".join(f"start {name}" for name in names)
    (directory / "domains").write_text(domains, encoding="utf-8")
    write_host_list(lab, directory)
