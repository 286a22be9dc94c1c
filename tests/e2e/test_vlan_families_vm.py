"""VLANs of VMs without NetworkManager: a router of netplan, behind it systemd-networkd and ifupdown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

FAMILIES = ("netplan", "networkd", "ifupdown")
TEXT = """\
name: e2e-vlanfam
hypervisor: qemu:///system
defaults: {memory: 384}
images:
  netplan: {build: "debian-12:netplan"}
  networkd: {build: "debian-12:networkd"}
  ifupdown: {build: "debian-12:ifupdown"}
networks:
  mgmt: {cidr: 10.222.1.0/24}
  trunk: {mode: very-isolated}
  users: {cidr: 10.222.20.0/24, cidr6: "fd00:222:20::/64", vlan: {on: trunk, id: 20}}
  voice: {cidr: 10.222.30.0/24, vlan: {on: trunk, id: 30}}
hosts:
  gate:
    image: netplan
    role: router
    networks:
      mgmt: 10.222.1.10
      trunk: none
      users: {ipv4: 10.222.20.1, ipv6: "fd00:222:20::1"}
      voice: 10.222.30.1
    # gate
  pc:
    image: networkd
    networks: {trunk: none, users: {ipv4: 10.222.20.11, ipv6: "fd00:222:20::11"}}
    # pc
  phone:
    image: ifupdown
    networks: {trunk: none, voice: 10.222.30.12}
    # phone
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "800")
# By other commands than labrun's own.
STATE = """\
ip -brief link show type vlan; ip -brief address show scope global; ip route
ls /etc/netplan /etc/systemd/network /etc/network/interfaces.d 2>/dev/null; true
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("vlanfam"), TEXT)
    try:
        # Each in a command of its own: three of them take longer than one command has.
        for family in FAMILIES:
            built = made.json("image", "build", f"debian-12:{family}")
            assert built.exit_code == 0, built.trouble()
        up = made.json(*SLOW, "up")
        assert up.exit_code == 0, up.trouble()
        ready = {row["host"]: row["actual"].rpartition(" in ")[0] for row in up.of("ready")}
        assert ready["gate"].startswith("ready at 10.222.1.10")
        assert ready["pc"].startswith("ready at 10.222.20.11 through gate")
        assert ready["phone"].startswith("ready at 10.222.30.12 through gate")
        yield made
    finally:
        made.run("-y", "down")


def is_as_declared(lab: RunningLab) -> None:
    for command in ("configure", "verify", "drift"):
        answer = lab.json(*SLOW, command)
        assert answer.exit_code == 0, (command, answer.bad())
        assert answer.statuses() <= {"ok", "skipped"}, (command, answer.rows)


def inside(lab: RunningLab, host: str, script: str) -> str:
    answer = lab.json(*SLOW, "exec", "--via", "agent", "--hosts", host, script)
    assert answer.exit_code == 0, answer.trouble()
    return str(answer.rows[0]["actual"])


def test_they_are_configured_verified_and_have_not_drifted(lab: RunningLab) -> None:
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)
    for host, tag in (("pc", "20"), ("phone", "30")):
        assert f"id {tag} " in inside(lab, host, f"ip -d link show vlan{tag}")
    (path,) = lab.json(*SLOW, "verify").of("path", "phone", "phone -> pc")
    assert path["actual"] == "10.222.30.1 10.222.20.11"


def test_what_somebody_did_to_a_device_is_drift_and_put_right(lab: RunningLab) -> None:
    anew = "ip link del {0}; ip link add link eth1 name {0} type vlan id 99"
    for host, below in (("pc", "eth0"), ("phone", "eth0"), ("gate", "eth1")):
        device = {"pc": "vlan20", "phone": "vlan30", "gate": "vlan30"}[host]
        inside(lab, host, anew.format(device).replace("eth1", below))
    drifted = lab.json(*SLOW, "drift", "--hosts", "gate")
    assert drifted.exit_code == 3
    assert "-vlan30: VLAN 99 on eth1" in "".join(row["diff"] or "" for row in drifted.rows)
    up = lab.json(*SLOW, "up")
    assert up.exit_code == 0, up.trouble()
    fixed = lab.json(*SLOW, "configure")
    assert fixed.exit_code == 0, fixed.trouble()
    is_as_declared(lab)


def test_a_lock_out_goes_back(lab: RunningLab) -> None:
    """Gateways that do not answer, and with the router's a VLAN that was not there before."""
    before = {host: inside(lab, host, STATE) for host in ("gate", "pc", "phone")}
    text = TEXT.replace("    # pc\n", "    gateway: 10.222.20.250\n")
    text = text.replace("    # phone\n", "    gateway: 10.222.30.250\n")
    text = text.replace("    # gate\n", "    gateway: 10.222.1.250\n")
    text = text.replace("mgmt: 10.222.1.10", "mgmt: 10.222.1.10\n      guests: 10.222.40.1")
    text = text.replace(
        "hosts:\n", "  guests: {cidr: 10.222.40.0/24, vlan: {on: trunk, id: 40}}\nhosts:\n", 1
    )
    lab.path.write_text(text, encoding="utf-8")
    try:
        answer = lab.json(*SLOW, "configure", "--confirm-timeout", "60")
        assert answer.exit_code == 1
        for host in before:
            rows = [row for row in answer.rows if row["host"] == host]
            assert "rolled-back" in {row["status"] for row in rows}, rows
    finally:
        lab.path.write_text(TEXT, encoding="utf-8")
    assert {host: inside(lab, host, STATE) for host in before} == before
    is_as_declared(lab)


def test_a_vlan_more_and_less_on_machines_that_run(lab: RunningLab) -> None:
    more = TEXT.replace(
        "hosts:\n", "  guests: {cidr: 10.222.40.0/24, vlan: {on: trunk, id: 40}}\nhosts:\n", 1
    )
    more = more.replace("      trunk: none\n", "      trunk: none\n      guests: 10.222.40.1\n")
    more = more.replace("{trunk: none, users", "{trunk: none, guests: 10.222.40.11, users")
    more = more.replace("{trunk: none, voice", "{trunk: none, guests: 10.222.40.12, voice")
    lab.path.write_text(more, encoding="utf-8")
    assert lab.json("up", "--no-wait").exit_code == 0
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)
    lab.path.write_text(TEXT, encoding="utf-8")
    assert lab.json("up", "--no-wait").exit_code == 0
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    for host in ("gate", "pc", "phone"):
        assert "vlan40" not in inside(lab, host, STATE)
    is_as_declared(lab)


def test_they_come_up_again_with_the_machines(lab: RunningLab) -> None:
    assert lab.json("--timeout", "60", "restart", "--no-wait").exit_code == 0
    up = lab.json(*SLOW, "up")
    assert up.exit_code == 0, up.trouble()
    is_as_declared(lab)
