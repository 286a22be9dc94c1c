"""`labrun net`: what libvirt has of the lab's networks, beside what virsh and the packet filter say."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

LAB = """\
name: e2e-net
hypervisor: lxc:///system
networks:
  out: {mode: nat, cidr: 10.171.1.0/24}
  way: {mode: route, cidr: 10.171.2.0/24, cidr6: "fd71:2::/64"}
  in: {mode: isolated, cidr: 10.171.3.0/24, bridge_name: e2enet-in}
  wide: {mode: open, cidr: 10.171.4.0/24}
hosts:
  a: {networks: {out: dhcp, in: 10.171.3.11}}
"""
VIRSH = ("virsh", "-c", "lxc:///system")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("net"), LAB)
    try:
        absent = made.json("net")
        assert absent.exit_code == 0
        assert {row["actual"] for row in absent.rows} == {"absent"}
        up = made.json("up")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def test_networks_ports_and_leases_are_those_of_libvirt(lab: RunningLab) -> None:
    answer = lab.json("net")
    assert answer.exit_code == 0
    networks = {each["name"]: each for each in answer.document["networks"]}
    assert list(networks) == ["out", "way", "in", "wide"]
    for name, network in networks.items():
        full = f"e2e-net-{name}"
        info = dict(line.split(":", 1) for line in said(*VIRSH, "net-info", full).splitlines() if ":" in line)
        assert network["uuid"] == info["UUID"].strip()
        assert network["bridge"] == info["Bridge"].strip()
        assert (network["libvirt"], network["state"]) == (full, "active")
    ports = said(*VIRSH, "domiflist", "e2e-net-a").splitlines()[2:]
    expected = {tuple(line.split()[index] for index in (2, 0, 4)) for line in ports if line.strip()}
    assert expected == {
        (f"e2e-net-{name}", port["dev"], port["mac"]) for name in networks for port in networks[name]["ports"]
    }
    (lease,) = networks["out"]["leases"]
    assert f"{lease['address']}/24" in said(*VIRSH, "net-dhcp-leases", "e2e-net-out")
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) < lease["expires"]
    assert networks["in"]["leases"] == []


def test_the_table_fits_a_terminal(lab: RunningLab) -> None:
    narrow = RunningLab(lab.path, lab.state, {**lab.env, "COLUMNS": "80"})
    lines = narrow.run("net").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    # Each network takes a line, two subnets two; nothing that is copied is broken.
    assert re.fullmatch(r"way +route +active +10\.171\.2\.0/24 +virbr\d+", lines[2].strip())
    assert lines[3].strip() == "fd71:2::/64"
    uuids = {each["name"]: each["uuid"] for each in lab.json("net").document["networks"]}
    assert {tuple(line.split()) for line in lines} >= set(uuids.items())
    wide = RunningLab(lab.path, lab.state, {**lab.env, "COLUMNS": "130"})
    done = wide.run("net")
    assert done.exit_code == 0
    assert f"e2enet-in  {uuids['in']}" in done.stdout
    (guest,) = [line for line in done.stdout.splitlines() if line.startswith("out  ") and " lr" in line]
    columns = r"out\s+a\s+lr[0-9a-f]{12}\s+10\.171\.1\.\d+\s+(\d{4}-\d\d-\d\d )?\d\d:\d\d, in (\d+ min|1 h)"
    assert re.fullmatch(columns, guest.strip())


RULES = {
    "out": ({"guests may send beyond this machine", "only answers come in", "nothing else comes in"}, True),
    "way": ({"guests may send beyond this machine", "others may connect to the guests"}, False),
    "in": ({"nothing else is forwarded beyond it", "nothing else comes in"}, False),
}


def test_rules_are_those_of_the_mode_and_stand_in_the_filter(lab: RunningLab) -> None:
    answer = lab.json("net", "--rules")
    assert answer.exit_code == 0, answer.stderr
    networks = {each["name"]: each for each in answer.document["networks"]}
    for name, (expected, translated) in RULES.items():
        does = [rule["does"] for rule in networks[name]["rules"]]
        assert expected <= set(does)
        assert any("this machine's address" in each for each in does) is translated
        # No rule is left without a word on what it does.
        assert "a libvirt rule that labrun does not know" not in does
    assert networks["wide"]["rules"] == []
    assert "others may connect to the guests" not in {rule["does"] for rule in networks["out"]["rules"]}
    families = {rule["program"] for rule in networks["way"]["rules"]}
    assert families == {"iptables", "ip6tables"} or families == {"nft"}
    text = lab.run("net", "--rules").stdout
    assert "wide (open, " in text
    assert "libvirt adds no rules: this machine's own rules decide" in text


def test_a_stranger_on_the_lab_s_network_is_named(
    lab: RunningLab, make_lab: Callable[[str], RunningLab]
) -> None:
    # A machine of somebody's, plugged into the lab's network.
    other = make_lab(
        "name: e2e-net2\nhypervisor: lxc:///system\nnetworks: {n: {mode: isolated, cidr: 10.171.9.0/24}}\n"
        "hosts: {x: {networks: {n: 10.171.9.11}}}\n"
    )
    assert other.json("up").exit_code == 0
    said(*VIRSH, "attach-interface", "e2e-net2-x", "network", "e2e-net-in", "--live")
    networks = {each["name"]: each for each in lab.json("net").document["networks"]}
    assert [(port["domain"], port["host"]) for port in networks["in"]["ports"]] == [
        ("e2e-net-a", "a"),
        ("e2e-net2-x", None),
    ]
    wide = RunningLab(lab.path, lab.state, {**lab.env, "COLUMNS": "130"})
    assert "e2e-net2-x (not the lab's)" in wide.run("net").stdout
    mac = networks["in"]["ports"][1]["mac"]
    said(*VIRSH, "detach-interface", "e2e-net2-x", "network", "--mac", mac, "--live")


def device_is_there(name: str) -> bool:
    pid = Path("/run/libvirtd.pid").read_text().strip()
    words = ["nsenter", "-t", pid, "-n", "--", "ip", "link", "show", "dev", name]
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


def bridge_of(lab: RunningLab, name: str) -> str:
    networks = {each["name"]: each for each in lab.json("net").document["networks"]}
    return str(networks[name]["bridge"])


@pytest.mark.full
def test_a_bridge_has_the_declared_name_and_follows_the_file(lab: RunningLab) -> None:
    text = lab.path.read_text()
    assert bridge_of(lab, "in") == "e2enet-in"
    assert device_is_there("e2enet-in")
    assert lab.json("plan").exit_code == 0
    try:
        # What has the name already is found before anything is touched.
        pid = Path("/run/libvirtd.pid").read_text().strip()
        said("nsenter", "-t", pid, "-n", "--", "ip", "link", "add", "e2enet-x", "type", "bridge")
        lab.path.write_text(text.replace("e2enet-in", "e2enet-x"))
        plan = lab.json("plan")
        said("nsenter", "-t", pid, "-n", "--", "ip", "link", "del", "e2enet-x")
        assert plan.exit_code == 5
        (row,) = plan.of("network", name="in")
        assert row["why"] == "the hypervisor has a device e2enet-x already (change `bridge_name`)"
        # The guest is still on it, under the other name.
        lab.path.write_text(text.replace("e2enet-in", "e2enet-y"))
        assert {row["status"] for row in lab.json("up").of("network", name="in")} == {"changed"}
        assert (bridge_of(lab, "in"), device_is_there("e2enet-in")) == ("e2enet-y", False)
        assert "1 received" in inside_ping("10.171.3.11")
        assert lab.json("up").statuses() == {"ok"}
        lab.path.write_text(text.replace(", bridge_name: e2enet-in", ""))
        assert {row["status"] for row in lab.json("up").of("network", name="in")} == {"changed"}
        assert re.fullmatch(r"virbr\d+", bridge_of(lab, "in"))
        assert lab.json("up").statuses() == {"ok"}
    finally:
        lab.path.write_text(text)
        assert lab.json("up").exit_code == 0
    assert bridge_of(lab, "in") == "e2enet-in"


def inside_ping(address: str) -> str:
    """Ping from the hypervisor, until there is an answer."""
    pid = Path("/run/libvirtd.pid").read_text().strip()
    return said("nsenter", "-t", pid, "-n", "--", "ping", "-n", "-c", "1", "-w", "20", address)


def test_an_inactive_network_says_so(lab: RunningLab) -> None:
    said(*VIRSH, "net-destroy", "e2e-net-wide")
    try:
        networks = {each["name"]: each for each in lab.json("net").document["networks"]}
        assert networks["wide"]["state"] == "inactive"
        assert "inactive: no rules" in lab.run("net", "--rules").stdout
    finally:
        said(*VIRSH, "net-start", "e2e-net-wide")
