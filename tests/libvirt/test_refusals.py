"""Whatever `up` would be refused: plan says it, up says the same, and nothing of the lab is made."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from labrun.hypervisor import daemon_pid
from labrun.tasks.provision.kernel_vlans import without_vlans
from tests.labs import Answer, RunningLab
from tests.leftovers import note

URI = "lxc:///system"
LAB = "refusal-test"


@dataclass
class Plants:
    """Things of others that are put in the way, and are gone again after the test."""

    connection: libvirt.virConnect
    undo: ExitStack

    def ip(self, *words: str) -> None:
        command = ["nsenter", "-t", str(daemon_pid(URI)), "-n", "ip", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def device(self, name: str, kind: str, *, up: bool = True, address: str = "") -> None:
        self.ip("link", "add", name, "type", kind)
        self.undo.callback(self.ip, "link", "del", name)
        if address:
            self.ip("address", "add", address, "dev", name)
        if up:
            self.ip("link", "set", name, "up")

    def route(self, prefix: str, device: str) -> None:
        self.device(device, "veth")
        self.ip("route", "add", prefix, "dev", device)

    def network(self, name: str, address: str) -> None:
        note(name)
        found = self.connection.networkCreateXML(f"<network><name>{name}</name>{address}</network>")
        self.undo.callback(found.destroy)

    def definition(self, name: str) -> None:
        note(name)
        found = self.connection.networkDefineXML(f"<network><name>{name}</name></network>")
        self.undo.callback(found.undefine)

    def kernel_without_vlans(self) -> None:
        if not without_vlans():
            pytest.skip("this kernel has 802.1Q")

    def filter(self, name: str) -> None:
        note(name)
        xml = f"<filter name='{name}'><rule action='drop' direction='in'/></filter>"
        self.undo.callback(self.connection.nwfilterDefineXML(xml).undefine)

    def domain(self, name: str, uri: str = URI) -> None:
        note(name)
        kind, system = uri.partition(":")[0], "exe" if uri == URI else "hvm"
        init = "<init>/bin/sh</init>" if uri == URI else ""
        connection = libvirt.open(uri)
        self.undo.callback(connection.close)
        domain = connection.defineXML(
            f"<domain type='{kind}'><name>{name}</name><memory>65536</memory>"
            f"<os><type>{system}</type>{init}</os></domain>"
        )
        self.undo.callback(domain.undefine)

    def guest(self, name: str, network: str, mac: str) -> None:
        """A running container of somebody's on a network of somebody's."""
        note(name)
        guest = self.connection.createXML(
            f"<domain type='lxc'><name>{name}</name><memory unit='MiB'>64</memory><os><type>exe</type>"
            "<init>/bin/sleep</init><initarg>1000</initarg></os><devices><filesystem type='mount'>"
            "<source dir='/'/><target dir='/'/><readonly/></filesystem><interface type='network'>"
            f"<source network='{network}'/><mac address='{mac}'/></interface><console type='pty'/>"
            "</devices></domain>"
        )
        self.undo.callback(guest.destroy)


@pytest.fixture
def plants() -> Iterator[Plants]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(URI)
    with ExitStack() as undo:
        undo.callback(connection.close)
        yield Plants(connection, undo)


@dataclass(frozen=True)
class Refusal:
    """What is planted, the networks and the rest of the lab file, the row that fails, and its reason."""

    plant: Callable[[Plants], None]
    networks: str
    row: tuple[str, str]
    why: str
    host: str = "{networks: {n: 10.131.7.11}}"
    more: str = ""
    uri: str = URI


N = "{mode: nat, cidr: 10.131.7.0/24}"
LAN = "{mode: bridge, bridge: rt-br0, cidr: 10.131.7.0/24}"
NAMED = "{mode: isolated, cidr: 10.131.7.0/24, bridge_name: rt-br0}"
REFUSALS = {
    "name of a network": Refusal(
        lambda plants: plants.definition(f"{LAB}-n"),
        N,
        ("network", "n"),
        f"the network {LAB}-n exists and is not this lab's (rename the lab, or inspect it with"
        f" `virsh net-dumpxml {LAB}-n`)",
    ),
    "name of a domain": Refusal(
        lambda plants: plants.domain(f"{LAB}-h"),
        N,
        ("machine", "h"),
        f"the domain {LAB}-h exists and is not this lab's (rename the lab or the host, or inspect it with"
        f" `virsh dumpxml {LAB}-h`)",
    ),
    "name of a filter": Refusal(
        lambda plants: plants.filter(f"{LAB}-f"),
        N,
        ("filter", "f"),
        f"the filter {LAB}-f exists and is not this lab's (rename the filter, or inspect it with"
        f" `virsh nwfilter-dumpxml {LAB}-f`)",
        host="{networks: {n: {ipv4: 10.131.7.11, filter: f}}}",
        more="filters: {f: [{deny: out, proto: tcp, port: 80}]}",
    ),
    "subnet of a network": Refusal(
        lambda plants: plants.network("rt-other", "<ip address='10.131.7.1' prefix='24'/>"),
        N,
        ("network", "n"),
        "10.131.7.0/24 is the subnet of the network rt-other here (change `cidr`, or take that network down)",
    ),
    "part of a subnet": Refusal(
        lambda plants: plants.network("rt-other", "<ip address='10.131.7.129' prefix='25'/>"),
        N,
        ("network", "n"),
        "10.131.7.0/24 overlaps 10.131.7.128/25, the subnet of the network rt-other here"
        " (change `cidr`, or take that network down)",
    ),
    "wider subnet, IPv6": Refusal(
        lambda plants: plants.network("rt-other", "<ip family='ipv6' address='fd00:131::1' prefix='48'/>"),
        '{mode: isolated, cidr: 10.131.7.0/24, cidr6: "fd00:131:0:7::/64"}',
        ("network", "n"),
        "fd00:131:0:7::/64 overlaps fd00:131::/48, the subnet of the network rt-other here"
        " (change `cidr`, or take that network down)",
    ),
    "subnet of an interface": Refusal(
        lambda plants: plants.device("rt-eth", "veth", address="10.131.7.77/16"),
        N,
        ("network", "n"),
        "10.131.7.0/24 overlaps 10.131.0.0/16, the subnet of rt-eth of the hypervisor, which has 10.131.7.77"
        " (change `cidr`)",
    ),
    "route into the subnet": Refusal(
        lambda plants: plants.route("10.131.7.64/26", "rt-eth"),
        N,
        ("network", "n"),
        "the hypervisor has a route to 10.131.7.64/26 dev rt-eth, which is in 10.131.7.0/24 (change `cidr`)",
    ),
    "bridge that is not there": Refusal(
        lambda plants: None,
        LAN,
        ("network", "n"),
        "the hypervisor has no bridge rt-br0 (`labrun host-bridge create rt-br0 --dev NIC` makes one)",
    ),
    "bridge that is down": Refusal(
        lambda plants: plants.device("rt-br0", "bridge", up=False),
        LAN,
        ("network", "n"),
        "the bridge rt-br0 of the hypervisor is down (`ip link set rt-br0 up`)",
    ),
    "no bridge": Refusal(
        lambda plants: plants.device("rt-br0", "veth"),
        LAN,
        ("network", "n"),
        "rt-br0 of the hypervisor is not a bridge",
    ),
    "uplink of nat": Refusal(
        lambda plants: None,
        "{mode: nat, cidr: 10.131.7.0/24, dev: rt-eth}",
        ("network", "n"),
        "the hypervisor has no device rt-eth",
    ),
    "uplink of route": Refusal(
        lambda plants: plants.device("rt-eth", "veth", up=False),
        "{mode: route, cidr: 10.131.7.0/24, dev: rt-eth}",
        ("network", "n"),
        "the device rt-eth of the hypervisor is down (`ip link set rt-eth up`)",
    ),
    "device of macvtap": Refusal(
        lambda plants: None,
        "{mode: macvtap, cidr: 10.131.7.0/24, dev: rt-eth}",
        ("network", "n"),
        "the hypervisor has no device rt-eth",
    ),
    "bridge name of a network": Refusal(
        lambda plants: plants.network("rt-other", "<bridge name='rt-br0'/>"),
        NAMED,
        ("network", "n"),
        "the bridge rt-br0 belongs to the network rt-other (change `bridge_name`)",
    ),
    "bridge name of a device": Refusal(
        lambda plants: plants.device("rt-br0", "veth"),
        NAMED,
        ("network", "n"),
        "the hypervisor has a device rt-br0 already (change `bridge_name`)",
    ),
    "model of a container's NIC": Refusal(
        lambda plants: None,
        N,
        ("machine", "h"),
        "a container's NIC has no model e1000 (remove `model`, or driver: qemu)",
        host="{networks: {n: {ipv4: 10.131.7.11, model: e1000}}}",
        uri="auto",
    ),
    "VLAN in a container": Refusal(
        lambda plants: plants.kernel_without_vlans(),
        "{mode: very-isolated}, v: {cidr: 10.131.7.0/24, vlan: {on: n, id: 20}}",
        ("machine", "h"),
        "v is a VLAN, and this hypervisor's kernel, which containers share, has no 802.1Q"
        " (`modprobe 8021q`, or driver: qemu)",
        host="{networks: {n: none, v: 10.131.7.11}}",
    ),
    "image": Refusal(
        lambda plants: None,
        N,
        ("machine", "h"),
        "the image no-such-image has no root file system for containers"
        " (containers are made from debian-12, which `labrun image build` makes)",
        host="{networks: {n: 10.131.7.11}, image: no-such-image}",
    ),
    "memory": Refusal(
        lambda plants: None,
        N,
        ("machine", "h"),
        r"~4000000 MiB of memory, and the hypervisor has \d+",
        host="{networks: {n: 10.131.7.11}, memory: 4000000}",
    ),
    "disk smaller than the image": Refusal(
        lambda plants: None,
        N,
        ("machine", "h"),
        r"~a disk of 1 GiB is too small for the image \(set disk to \d+ or more\)",
        host="{networks: {n: 10.131.7.11}, disk: 1}",
        uri="qemu:///system",
    ),
    "vcpus": Refusal(
        lambda plants: None,
        N,
        ("machine", "h"),
        r"~512 vcpus, and QEMU supports at most \d+",
        host="{networks: {n: 10.131.7.11}, vcpus: 512}",
        uri="qemu:///system",
    ),
}


def lab_of(directory: Path, refusal: Refusal) -> RunningLab:
    text = (
        f"name: {LAB}\nhypervisor: {refusal.uri}\ndefaults: {{image: debian-12, memory: 256}}\n"
        f"networks: {{n: {refusal.networks}}}\nhosts: {{h: {refusal.host}}}\n{refusal.more}\n"
    )
    path = directory / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    # The hypervisor of a lab that leaves it open.
    env = {"LABRUN_HYPERVISOR": URI} if refusal.uri == "auto" else {}
    return RunningLab(path, directory / "state", env)


def failed(answer: Answer) -> list[tuple[str, str, str]]:
    return [(row["section"], row["name"], row["why"]) for row in answer.rows if row["status"] == "failed"]


def of_the_lab(connection: libvirt.virConnect) -> set[str]:
    lists = (connection.listAllNetworks(), connection.listAllDomains(), connection.listAllNWFilters())
    return {each.name() for found in lists for each in found if each.name().startswith(LAB)}


# Each of these has another of its kind among the others.
FURTHER = (
    *("part of a subnet", "bridge that is down", "uplink of route", "bridge name of a device"),
    *("memory", "name of a filter"),
)


@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=pytest.mark.full if each in FURTHER else ()) for each in REFUSALS]
)
def test_plan_says_what_up_refuses_and_up_makes_nothing(kind: str, plants: Plants, tmp_path: Path) -> None:
    refusal = REFUSALS[kind]
    lab = lab_of(tmp_path, refusal)
    refusal.plant(plants)
    before = of_the_lab(plants.connection)
    plan = lab.json("plan")
    assert plan.exit_code == 5, plan.rows
    found = [why for section, name, why in failed(plan) if (section, name) == refusal.row]
    assert len(found) == 1
    if refusal.why.startswith("~"):
        assert re.fullmatch(refusal.why[1:], found[0])
    else:
        assert found == [refusal.why]
    up = lab.json("-y", "up")
    assert (up.exit_code, failed(up)) == (5, failed(plan))
    assert {row["status"] for row in up.rows} <= {"failed", "skipped", "ok"}
    assert of_the_lab(plants.connection) == before
    plants.undo.close()


def test_what_is_only_wider_or_elsewhere_is_not_in_the_way(plants: Plants, tmp_path: Path) -> None:
    """A route to a wider range loses against the network's own, and a shut off interface has no routes."""
    plants.route("10.131.0.0/16", "rt-eth")
    plants.device("rt-off", "veth", up=False, address="10.131.7.9/24")
    plants.definition("rt-quiet")
    lab = lab_of(tmp_path, Refusal(lambda _: None, N, ("", ""), ""))
    plan = lab.json("plan")
    assert (plan.exit_code, failed(plan)) == (3, [])


def test_a_mac_that_a_guest_of_others_has_on_the_same_network(plants: Plants, tmp_path: Path) -> None:
    plants.device("rt-br0", "bridge")
    host = '{networks: {n: {ipv4: 10.131.7.11, mac: "52:54:00:10:20:02"}}}'
    refusal = Refusal(lambda _: None, "{mode: very-isolated, cidr: 10.131.7.0/24}", ("", ""), "", host=host)
    lab = lab_of(tmp_path, refusal)
    try:
        assert lab.json("up", "--no-wait").exit_code == 0
        assert lab.json("stop").exit_code == 0
        plants.guest("rt-guest", f"{LAB}-n", "52:54:00:10:20:02")
        why = f"rt-guest, which is not this lab's, has the MAC 52:54:00:10:20:02 on {LAB}-n (change `mac`)"
        for words in (("plan",), ("up", "--no-wait"), ("start",), ("restart",)):
            answer = lab.json(*words)
            assert (answer.exit_code, failed(answer)) == (5, [("machine", "h", why)])
        # Nor is the network pruned under the guest, and plan knows it.
        lab.path.write_text(lab.path.read_text().replace("{n: ", "{m: ").replace("10.131.7", "10.131.8"))
        why = "rt-guest, not this lab's, would be cut off (stop or unplug first)"
        for command in ("plan --prune", "-y up --prune --no-wait"):
            answer = lab.json(*command.split())
            assert answer.exit_code == 5
            assert ("network", "n", why) in failed(answer)
    finally:
        plants.undo.close()
        answer = lab.json("-y", "down")
        assert answer.exit_code == 0, answer.trouble()


def test_a_filter_that_others_refer_to_is_not_pruned(plants: Plants, tmp_path: Path) -> None:
    with_filter = REFUSALS["name of a filter"]
    lab = lab_of(tmp_path, with_filter)
    try:
        assert lab.json("up", "--no-wait").exit_code == 0
        xml = f"<filter name='rt-filter'><filterref filter='{LAB}-f'/></filter>"
        note("rt-filter")
        user = plants.connection.nwfilterDefineXML(xml)
        plants.undo.callback(user.undefine)
        lab_of(tmp_path, Refusal(lambda _: None, N, ("", ""), ""))
        why = "the filter rt-filter, not this lab's, refers to it (remove the reference first)"
        for words in (("plan", "--prune"), ("-y", "up", "--prune", "--no-wait")):
            answer = lab.json(*words)
            assert (answer.exit_code, failed(answer)) == (5, [("filter", "f", why)])
        user.undefine()
        plants.undo.pop_all()
        assert lab.json("-y", "up", "--prune", "--no-wait").exit_code == 0
        assert lab.json("plan", "--prune").exit_code == 0
    finally:
        answer = lab.json("-y", "down")
        assert answer.exit_code == 0, answer.trouble()
