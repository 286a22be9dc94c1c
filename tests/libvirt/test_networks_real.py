"""Networks of every kind that needs no NIC of the machine, made on the real libvirtd, and then left alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import libvirt
import pytest

from labrun.hypervisor import daemon_pid
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.outcome import Outcome, Status
from labrun.tasks.drift.lab_rows import lab_rows
from labrun.tasks.provision.kept_rules import RULES, forget_rules, keep_rules
from labrun.tasks.provision.networks import (
    apply_network,
    network_spec,
    observe_networks,
    plan_network,
    remove_network,
)
from labrun.tasks.provision.objects import Plan, Planned, Spec
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.planning import LabPlan
from tests.leftovers import note

URI = "lxc:///system"
TEXT = """\
name: networks-real
networks:
  plain: {mode: isolated, cidr: 10.132.1.0/24, domain: lab.example, mtu: 1400, dns: {www: 10.132.1.9}}
  out: {mode: nat, cidr: 10.132.2.0/24, cidr6: "fd00:132:2::/64"}
  ports: {mode: nat, cidr: 10.132.3.0/24, nat_ports: [2000, 3000]}
  usual: {mode: nat, cidr: 10.132.4.0/24, nat_ports: [1024, 65535]}
  routed: {mode: route, cidr: 10.132.5.0/24, dhcp: {range: [10.132.5.50, 10.132.5.60]}}
  free: {mode: open, cidr: 10.132.6.0/24, dhcp: false, autostart: false}
  quiet: {mode: very-isolated, cidr: 10.132.7.0/24}
hosts:
  a: {networks: {plain: 10.132.1.10, out: {ipv4: 10.132.2.10, ipv6: "fd00:132:2::10"}, routed: dhcp}}
"""


def lab_of(tmp_path: Path, text: str = TEXT) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return lab_of(tmp_path)


@pytest.fixture
def connection(lab: Lab) -> Iterator[libvirt.virConnect]:
    handle = libvirt.open(URI)
    note(lab.name)
    yield handle
    remove(handle, lab)
    handle.close()


def remove(connection: libvirt.virConnect, lab: Lab) -> None:
    for name in lab.networks:
        remove_network(connection, lab.name, lab.libvirt_name(name))


def specs(lab: Lab) -> dict[str, Spec]:
    return {name: network_spec(lab, network, URI) for name, network in lab.networks.items()}


def plans(connection: libvirt.virConnect, lab: Lab) -> dict[str, Plan]:
    seen = observe_networks(connection, lab.name)
    return {name: plan_network(spec, seen.get(name)) for name, spec in specs(lab).items()}


def actions(connection: libvirt.virConnect, lab: Lab) -> dict[str, str]:
    return {name: plan.action for name, plan in plans(connection, lab).items()}


def make(connection: libvirt.virConnect, lab: Lab) -> None:
    for name, plan in plans(connection, lab).items():
        apply_network(connection, specs(lab)[name], plan)


def test_what_runs_as_declared_needs_nothing(connection: libvirt.virConnect, lab: Lab) -> None:
    """A running network shows more than its definition has, such as the ports that NAT uses by default."""
    assert set(actions(connection, lab).values()) == {"create"}
    make(connection, lab)
    assert {name for name, action in actions(connection, lab).items() if action != "none"} == set()


def test_names_and_reservations_change_in_the_running_network(
    connection: libvirt.virConnect, lab: Lab, tmp_path: Path
) -> None:
    make(connection, lab)
    bridge = connection.networkLookupByName("networks-real-plain").bridgeName()
    moved = lab_of(tmp_path, TEXT.replace("plain: 10.132.1.10", "plain: 10.132.1.11"))
    plan = plans(connection, moved)["plain"]
    assert (plan.action, list(plan.item.differences)) == ("update", ["reservations", "dns"])
    apply_network(connection, specs(moved)["plain"], plan)
    assert actions(connection, moved)["plain"] == "none"
    # And what somebody added goes, whatever it looks like.
    network = connection.networkLookupByName("networks-real-plain")
    network.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        -1,
        "<host mac='02:00:00:00:00:99' ip='10.132.1.99'/>",
        libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE,
    )
    plan = plans(connection, moved)["plain"]
    assert (plan.action, list(plan.item.differences)) == ("update", ["reservations"])
    apply_network(connection, specs(moved)["plain"], plan)
    assert actions(connection, moved)["plain"] == "none"
    assert network.bridgeName() == bridge


def test_one_address_of_two_under_a_name_changes_in_the_running_network(
    connection: libvirt.virConnect, lab: Lab, tmp_path: Path
) -> None:
    """libvirt refuses to delete what more than one record fits."""
    make(connection, lab)
    network = connection.networkLookupByName("networks-real-out")
    bridge = network.bridgeName()
    moved = TEXT.replace("10.132.2.10,", "10.132.2.11,")
    both = moved.replace("::10", "::11")
    for text in (moved, both, moved, TEXT.replace('out: {ipv4: 10.132.2.10, ipv6: "fd00:132:2::10"}, ', "")):
        changed = lab_of(tmp_path, text)
        plan = plans(connection, changed)["out"]
        assert (plan.action, "dns" in plan.item.differences) == ("update", True)
        apply_network(connection, specs(changed)["out"], plan)
        assert actions(connection, changed)["out"] == "none"
    assert (network.bridgeName(), "<hostname>" in network.XMLDesc()) == (bridge, False)


def drift(connection: libvirt.virConnect, lab: Lab) -> Outcome:
    seen, spec = observe_networks(connection, lab.name)["plain"], specs(lab)["plain"]
    (row,) = lab_rows(LabPlan((Planned(spec, plan_network(spec, seen), seen),)), lab.digest, ())
    return row


def test_a_network_that_an_earlier_labrun_recorded_still_says_who_has_moved(
    connection: libvirt.virConnect, lab: Lab, tmp_path: Path
) -> None:
    """Earlier versions recorded eight digits of each hash, and left out the family of IPv4 subnets."""
    spec = specs(lab)["plain"]
    short = " ".join(
        f"{key}={sha256(value.encode()).hexdigest()[:8]}" for key, value in sorted(spec.want.items())
    )
    old = re.sub(r'applied="[^"]*"', f'applied="{short}"', spec.xml).replace(' family="ipv4"', "")
    assert (short in old, "family" in old) == (True, False)
    apply_network(connection, replace(spec, xml=old), plans(connection, lab)["plain"])
    assert drift(connection, lab).status is Status.OK
    asked = lab_of(tmp_path, TEXT.replace("domain: lab.example", "domain: other.example"))
    assert drift(connection, asked).status is Status.PENDING
    network = connection.networkLookupByName("networks-real-plain")
    connection.networkDefineXML(
        re.sub("lab.example", "by-hand.example", network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    )
    row = drift(connection, lab)
    assert (row.status, row.diff) == (Status.DRIFTED, "- domain: by-hand.example\n+ domain: lab.example")
    assert drift(connection, asked).status is Status.CONFLICT


def test_a_bridge_name_that_was_taken_meanwhile(connection: libvirt.virConnect, lab: Lab) -> None:
    spec = specs(lab)["plain"]
    apply_network(connection, spec, plans(connection, lab)["plain"])
    network = connection.networkLookupByName(spec.full_name)
    uuid, bridge = network.UUIDString(), network.bridgeName()
    network.destroy()
    inside = ["nsenter", "-t", str(daemon_pid(URI)), "-n"]
    subprocess.run([*inside, "ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        apply_network(connection, spec, plans(connection, lab)["plain"])
    finally:
        subprocess.run([*inside, "ip", "link", "delete", bridge], check=True)
    network = connection.networkLookupByName(spec.full_name)
    assert network.isActive()
    assert network.UUIDString() == uuid
    assert network.bridgeName() != bridge


def test_dhcpv6_reservations_change_in_the_running_network(
    connection: libvirt.virConnect, lab: Lab, tmp_path: Path
) -> None:
    text = TEXT.replace("hosts:\n", "hosts:\n  b: {networks: {out: {ipv4: dhcp, ipv6: dhcp}}}\n")
    make(connection, lab_of(tmp_path, text))
    assert actions(connection, lab_of(tmp_path, text))["out"] == "none"
    more = lab_of(tmp_path, text.replace("hosts:\n", "hosts:\n  c: {networks: {out: {ipv6: dhcp}}}\n"))
    plan = plans(connection, more)["out"]
    # Both subnets have reservations; each goes to its own.
    assert (plan.action, list(plan.item.differences)) == ("update", ["reservations6", "dns"])
    apply_network(connection, specs(more)["out"], plan)
    assert actions(connection, more)["out"] == "none"
    fewer = lab_of(tmp_path, text)
    apply_network(connection, specs(fewer)["out"], plans(connection, fewer)["out"])
    assert actions(connection, fewer)["out"] == "none"
    # The first one needs the server itself, and that a restart.
    assert plans(connection, lab)["out"].action == "restart"


def test_the_ipv6_of_a_nat_network_is_translated(connection: libvirt.virConnect, lab: Lab) -> None:
    make(connection, lab)
    xml = connection.networkLookupByName("networks-real-out").XMLDesc()
    assert "<nat ipv6='yes'>" in xml
    assert actions(connection, lab)["out"] == "none"


@pytest.mark.full
def test_a_new_network_forgets_what_an_earlier_one_of_its_name_had_kept(
    connection: libvirt.virConnect, lab: Lab
) -> None:
    """Somebody removed the lab without labrun, and its bridge is not there any more."""
    table = f"labrun/{lab.name}/forward/plain"
    gone = "/proc/sys/net/ipv4/conf/virbr-gone/route_localnet"
    keep_rules(table, f"table inet {table} {{\n}}\n", last=f"echo 1 >{gone}")
    kept = LABS / lab.name / RULES / "forward-plain"
    assert kept.is_file()
    try:
        apply_network(connection, specs(lab)["plain"], plans(connection, lab)["plain"])
        assert connection.networkLookupByName(lab.libvirt_name("plain")).isActive()
        assert not kept.exists()
        # Those of a network that is there are its own, and stay.
        keep_rules(table, f"table inet {table} {{\n}}\n")
        assert actions(connection, lab)["plain"] == "none"
        apply_network(connection, specs(lab)["plain"], plans(connection, lab)["plain"])
        assert kept.is_file()
    finally:
        forget_rules(table)
