"""Hosts whose netplan has systemd-networkd set the NICs: configured, verified, drifted, rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import RunningLab

# The image is built first.
pytestmark = [pytest.mark.lxc, pytest.mark.full]

NAME = "res-netplan"
LAB = f"""\
name: {NAME}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks:
  left: {{mode: isolated, cidr: 10.62.44.0/24, cidr6: "fd00:62:44::/64"}}
  right: {{mode: isolated, cidr: 10.62.45.0/24}}
hosts:
  gw:
    role: router
    networks: {{left: {{ipv4: 10.62.44.254, ipv6: "fd00:62:44::fe"}}, right: 10.62.45.254}}
  one: {{image: debian-12-netplan, networks: {{left: {{ipv4: 10.62.44.11, ipv6: "fd00:62:44::11"}}}}MORE}}
  two: {{image: debian-12-netplan, networks: {{right: dhcp}}}}
"""
OWN = "/etc/netplan/90-labrun-left.yaml"
# By other commands than labrun's own.
STATE = """\
cd /; grep -rs . etc/netplan run/systemd/network etc/systemd/network
ls -A /var/lib/labrun | grep -v rolled-back; ls /run | grep labrun-guard
ip -brief address show scope global | sed 's/@[^ ]*//' | tr -s ' '
ip route; ip -6 route | sed 's/ expires [^ ]*//'
true
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A router of NetworkManager between two hosts with netplan, not configured yet."""
    lab = write_lab(tmp_path_factory.mktemp("netplan"), LAB.replace("MORE", ""))
    built = lab.json("image", "build", "debian-12:netplan")
    assert built.exit_code == 0, built.stderr
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        lab.run("-y", "down")


def state(host: str) -> str:
    return inside(f"{NAME}-{host}", STATE)


def configured(lab: RunningLab, *words: str) -> set[str]:
    answer = lab.json("configure", "--only", "nmcli", "--hosts", "one", *words)
    assert answer.exit_code == 0, answer.trouble()
    return answer.statuses()


def test_netplans_own_file_is_written_and_a_second_run_changes_nothing(lab: RunningLab) -> None:
    first = lab.json("configure")
    assert first.exit_code == 0, first.trouble()
    assert "via: 10.62.44.254" in inside(f"{NAME}-one", f"cat {OWN}")
    assert inside(f"{NAME}-one", "ls /etc/systemd/network") == ""
    again = lab.json("configure")
    assert (again.exit_code, again.statuses("nmcli")) == (0, {"ok"}), again.trouble()
    for verb in ("verify", "drift"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()


def test_what_a_person_changed_is_drift_and_comes_back(lab: RunningLab) -> None:
    before = state("one")
    lab.guest("one", "ip address add 10.62.44.99/24 dev eth0")
    lab.guest("one", f"sed -i s/10.62.44.254/10.62.44.253/ {OWN}")
    (row,) = [row for row in lab.json("drift").of("nmcli") if row["status"] != "ok"]
    assert "10.62.44.253" in row["diff"]
    assert "-address 10.62.44.99/24" in row["diff"]
    lines = lab.run("configure", "--only", "nmcli", "--hosts", "one", "--dry-run", "--explain").stdout
    assert "netplan try" in lines
    assert configured(lab) == {"changed"}
    assert state("one") == before


def test_a_change_that_loses_the_gateway_is_rolled_back(lab: RunningLab) -> None:
    before = state("one")
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace("MORE", ", gateway: 10.62.44.250"), encoding="utf-8")
    answer = RunningLab(path, lab.state).json(
        "configure", "--only", "nmcli", "--hosts", "one", "--confirm-timeout", "10"
    )
    (row,) = answer.rows
    assert row["why"] == "the gateway 10.62.44.250 does not answer; the host rolled back"
    assert state("one") == before


def test_a_host_that_boots_comes_back_as_configured(lab: RunningLab) -> None:
    for verb in ("restart", "up"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()
    again = lab.json("configure")
    assert (again.exit_code, again.statuses("nmcli")) == (0, {"ok"}), again.trouble()
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
