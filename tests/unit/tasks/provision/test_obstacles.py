"""What plan says of work that up would be refused, on libvirt's own test driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.hypervisor import close_all, connect
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.outcome import HYPERVISOR, Outcome, Status, exit_code
from labrun.tasks.provision.image_catalogue import source_of_image
from labrun.tasks.provision.machines import plan_machine
from labrun.tasks.provision.networks import network_spec, observe_networks, plan_network
from labrun.tasks.provision.objects import Observed, Planned
from labrun.tasks.provision.obstacles import find_obstacles, not_begun, with_obstacles
from labrun.tasks.provision.planning import LabPlan
from labrun.tasks.provision.rows import planned_row

NETWORK = """\
  <network>
    <name>{name}</name>
    <metadata>{tag}</metadata>
    <forward mode='nat'/>
    <bridge name='{bridge}'/>
    <ip address='{address}' netmask='{mask}'/>
  </network>
"""
TAG = "<labrun:lab xmlns:labrun='urn:labrun:1' name='{}' network='{}'/>"
LAB = """\
name: demo
networks:
  made: {mode: isolated, cidr: 10.9.1.0/24}
  name: {mode: isolated, cidr: 10.9.2.0/24}
  same: {mode: isolated, cidr: 10.9.3.0/24}
  first: {mode: isolated, cidr: 10.9.4.0/24}
  other: {mode: isolated, cidr: 10.9.5.0/24}
  renamed: {mode: isolated, cidr: 10.9.6.0/24}
  free: {mode: isolated, cidr: 10.9.7.0/24}
  lan: {mode: bridge, bridge: br-obstacle}
  wire: {mode: macvtap, dev: nic-obstacle}
  lo: {mode: macvtap, dev: lo}
hosts: {old: {address: 192.0.2.7}}
"""
HERE = (
    ("demo-made", "demo", "10.9.1.1", "255.255.255.0"),
    ("demo-name", None, "10.8.2.1", "255.255.255.0"),
    ("theirs", None, "10.9.3.1", "255.255.255.0"),
    ("half", None, "10.9.4.1", "255.255.255.128"),
    ("second-n", "second", "10.9.5.1", "255.255.255.0"),
    ("demo-before", "demo", "10.9.6.1", "255.255.255.0"),
)
SAID = {
    "name": "the network demo-name exists and is not this lab's"
    " (rename the lab, or inspect it with `virsh net-dumpxml demo-name`)",
    "same": "10.9.3.0/24 is the subnet of the network theirs here (change `cidr`, or take that network down)",
    "first": "10.9.4.0/24 overlaps 10.9.4.0/25, the subnet of the network half here"
    " (change `cidr`, or take that network down)",
    "other": "10.9.5.0/24 is the subnet of the network second-n of the lab second"
    " (change `cidr`, or `labrun down --name second`)",
    "renamed": "10.9.6.0/24 is the subnet of this lab's own network demo-before, which is no longer in the"
    " file (`labrun up --prune` removes it)",
    "lan": "the hypervisor has no bridge br-obstacle"
    " (`labrun host-bridge create br-obstacle --dev NIC` makes one)",
    "wire": "the hypervisor has no device nic-obstacle",
}


def row(name: str, status: Status = Status.WOULD_CHANGE) -> Outcome:
    return Outcome(HYPERVISOR, "network", name, status, "as in the file", "would be created", diff="+x")


def test_networks_that_up_would_be_refused_are_failed_with_the_reason(tmp_path: Path) -> None:
    networks = "".join(
        NETWORK.format(
            name=name,
            tag=TAG.format(lab, name.rpartition("-")[2]) if lab else "",
            bridge=f"virbr9{n}",
            address=at,
            mask=mask,
        )
        for n, (name, lab, at, mask) in enumerate(HERE)
    )
    (tmp_path / "node.xml").write_text(f"<node>\n{networks}</node>\n")
    (tmp_path / "lab.yaml").write_text(LAB)
    lab = load_lab(tmp_path / "lab.yaml")
    uri = f"test://{tmp_path}/node.xml"
    try:
        plan = plan_of(lab, uri)
        rows = [row(name) for name in lab.networks]
        found = with_obstacles(uri, plan, rows, find_obstacles(lab, uri, plan))
    finally:
        close_all()
    assert {each.name: each.why for each in found if each.status is Status.FAILED} == SAID
    assert all(each == before for each, before in zip(found, rows, strict=True) if each.name not in SAID)
    assert all((each.actual, each.diff) == (None, None) for each in found if each.name in SAID)
    assert exit_code(found) == 5
    refused = not_begun(found)
    assert {each.status for each in refused} == {Status.FAILED, Status.SKIPPED}
    whys = {each.why for each in refused if each.status is Status.SKIPPED}
    assert whys == {"nothing was started: network name would be refused"}


def plan_of(lab: Lab, uri: str) -> LabPlan:
    seen = observe_networks(connect(uri), lab.name)
    specs = [network_spec(lab, network, uri) for network in lab.networks.values()]
    planned = [Planned(each, plan_network(each, seen.get(each.name)), seen.get(each.name)) for each in specs]
    return LabPlan(networks=tuple(planned))


@pytest.mark.parametrize(
    ("now", "wanted", "kept"),
    [
        (("10", ""), ("20", "5"), False),
        (("10", "5 6"), ("10", "5"), True),
        (("10", "5"), ("10", "4"), True),
        (("missing", ""), ("10", ""), True),
        (("pool-off", ""), ("10", ""), False),
        (("20", ""), ("10", ""), True),
    ],
)
def test_disks_that_cannot_shrink_are_pending_in_the_plan(
    now: tuple[str, str], wanted: tuple[str, str], kept: bool
) -> None:
    have, want = (dict(zip(("disk", "disks"), each, strict=True)) for each in (now, wanted))
    plan = plan_machine("h", want, Observed("lab-h", have, state="running"))
    shown = planned_row("h", "machine", plan)
    why = "this needs a new machine: labrun up --recreate --hosts h"
    expected = (Status.PENDING, why) if kept else (Status.WOULD_CHANGE, None)
    assert (shown.status, shown.why) == expected


@pytest.mark.parametrize(
    ("name", "driver", "source"),
    [
        ("debian-12", "lxc", "labrun image build debian-12"),
        ("debian-12", "qemu", "labrun image build debian-12"),
        ("fedora-40", "qemu", "labrun image import FILE --name fedora-40"),
        ("almalinux-9", "qemu", "labrun image pull almalinux-9"),
        ("almalinux-9", "lxc", "containers are made from debian-12, which `labrun image build` makes"),
        ("fedora-40", "lxc", "containers are made from debian-12, which `labrun image build` makes"),
    ],
)
def test_an_image_s_source_is_one_that_there_is(name: str, driver: str, source: str) -> None:
    assert source_of_image(name, driver) == source
