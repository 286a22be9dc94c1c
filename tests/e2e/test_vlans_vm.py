"""VLANs between VMs: a router on a trunk, a host on each of two VLANs, and only the router between them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

TEXT = """\
name: e2e-vlans
hypervisor: qemu:///system
defaults: {memory: 384}
networks:
  mgmt: {cidr: 10.221.1.0/24}
  trunk: {mode: very-isolated}
  users: {cidr: 10.221.20.0/24, cidr6: "fd00:221:20::/64", vlan: {on: trunk, id: 20}}
  voice: {cidr: 10.221.30.0/24, cidr6: "fd00:221:30::/64", vlan: {on: trunk, id: 30}}
hosts:
  gate:
    role: router
    networks:
      mgmt: 10.221.1.10
      trunk: none
      users: {ipv4: 10.221.20.1, ipv6: "fd00:221:20::1"}
      voice: {ipv4: 10.221.30.1, ipv6: "fd00:221:30::1"}
  pc: {networks: {trunk: none, users: {ipv4: 10.221.20.11, ipv6: "fd00:221:20::11"}}}
  phone: {networks: {trunk: none, voice: {ipv4: 10.221.30.12, ipv6: "fd00:221:30::12"}}}
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "500")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("vlans"), TEXT)
    try:
        up = made.json(*SLOW, "up")
        assert up.exit_code == 0, up.trouble()
        ready = {row["host"]: row["actual"].rpartition(" in ")[0] for row in up.of("ready")}
        # Before anything is configured: a new machine has its VLANs from the first boot on.
        assert ready == {
            "gate": "ready at 10.221.1.10",
            "pc": "ready at 10.221.20.11 through gate",
            "phone": "ready at 10.221.30.12 through gate",
        }
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
    return str(answer.rows[0]["actual"])


def test_it_is_configured_verified_and_seen_as_it_is(lab: RunningLab, tmp_path: Path) -> None:
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)
    verified = lab.json(*SLOW, "verify")
    (path,) = verified.of("path", "phone", "phone -> pc")
    assert path["actual"] == "10.221.30.1 10.221.20.11"
    networks = {each["name"]: each for each in lab.json("net").document["networks"]}
    assert networks["users"]["vlan"] == {"on": "trunk", "id": 20}
    assert networks["users"]["state"] == "vlan 20 on trunk"
    assert (networks["trunk"]["vlan"], len(networks["trunk"]["ports"])) == (None, 3)
    ping = threading.Thread(
        target=inside, args=(lab, "pc", "ping -n -i 0.5 -c 30 10.221.20.1 >/dev/null; true")
    )
    ping.start()
    try:
        file = tmp_path / "tap.pcap"
        words = ("capture", "gate:trunk", "-c", "3", "-o", str(file), "vlan 20 and icmp")
        done = lab.json("--timeout", "60", *words)
    finally:
        ping.join()
    assert done.exit_code == 0, done.trouble()
    read = subprocess.run(
        ["tcpdump", "-e", "-n", "-r", str(file)], capture_output=True, text=True, check=True
    )
    assert all("vlan 20" in line and "ICMP echo" in line for line in read.stdout.splitlines())
    refused = lab.run("capture", "gate:users")
    assert refused.exit_code == 2
    assert "gate:users is a VLAN device inside of the guest" in refused.stderr
    assert "name gate:trunk, where its frames pass with the tag 20" in refused.stderr


def test_one_vlan_does_not_hear_the_other(lab: RunningLab) -> None:
    here = (
        "ip address add 10.221.20.99/24 dev vlan30; ping -n -c 2 -W 1 10.221.20.11 >/dev/null && echo heard"
    )
    said = inside(lab, "phone", f"{here} || echo silence; ip address del 10.221.20.99/24 dev vlan30")
    assert said.split()[-1] == "silence"
    is_as_declared(lab)


def test_a_vlan_that_is_gone_is_named_and_made_again(lab: RunningLab) -> None:
    inside(lab, "phone", "nmcli connection down labrun-voice")
    verified = lab.json(*SLOW, "verify", "--hosts", "phone")
    assert verified.exit_code in (1, 4)
    reasons = [row["why"] or "" for row in verified.rows if row["host"] == "phone"]
    assert any("vlan30" in each or "voice" in each for each in reasons), reasons
    up = lab.json(*SLOW, "up")
    assert up.exit_code == 0, up.trouble()
    is_as_declared(lab)


def test_what_explain_prints_makes_the_same(lab: RunningLab) -> None:
    text = lab.run("configure", "--explain", "--hosts", "phone").stdout
    lines = text[text.index("nmcli connection add type vlan") :].splitlines()
    commands = []
    for line in lines:
        commands.append(line.strip())
        if line.startswith("nmcli connection up"):
            break
    typed = "\n".join(commands)
    inside(lab, "phone", f"nmcli connection delete labrun-voice\n{typed}\n")
    configured = lab.json(*SLOW, "configure", "--dry-run", "--only", "nmcli", "--hosts", "phone")
    assert configured.exit_code == 0, configured.trouble()


def test_it_comes_up_again_with_the_machines(lab: RunningLab) -> None:
    # With the limit of the shutdown alone: those behind gate come up after it.
    assert lab.json("--timeout", "60", "restart", "--no-wait").exit_code == 0
    up = lab.json(*SLOW, "up")
    assert up.exit_code == 0, up.trouble()
    is_as_declared(lab)


def test_a_vlan_more_on_machines_that_run(lab: RunningLab) -> None:
    text = TEXT.replace("hosts:\n", "  guests: {cidr: 10.221.40.0/24, vlan: {on: trunk, id: 40}}\nhosts:\n")
    text = text.replace("      trunk: none\n", "      trunk: none\n      guests: 10.221.40.1\n")
    lab.path.write_text(text.replace("{trunk: none, users", "{trunk: none, guests: 10.221.40.11, users"))
    # libvirt has no part in it; the hypervisor lets the new addresses through.
    plan = lab.json("plan")
    assert plan.exit_code == 3
    assert {row["section"] for row in plan.rows if row["status"] != "ok"} == {"filter"}
    # Not waited for: until gate has the VLAN nobody reaches pc by its address there.
    assert lab.json("up", "--no-wait").exit_code == 0
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)
    lab.path.write_text(TEXT)
    assert lab.json("up", "--no-wait").exit_code == 0
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    assert "vlan40" not in inside(lab, "gate", "ip -brief link")
    is_as_declared(lab)
