"""Hosts whose NICs systemd-networkd has: configured, verified, found drifted, rolled back, as any other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

NAME = "res-networkd"
LAB = f"""\
name: {NAME}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks:
  left: {{mode: isolated, cidr: 10.62.40.0/24, cidr6: "fd00:62:40::/64"}}
  right: {{mode: isolated, cidr: 10.62.41.0/24}}
hosts:
  gw:
    role: router
    networks: {{left: {{ipv4: 10.62.40.254, ipv6: "fd00:62:40::fe"}}, right: 10.62.41.254}}
  one: {{networks: {{left: {{ipv4: 10.62.40.11, ipv6: "fd00:62:40::11"ONE}}}}MORE}}
  two: {{networks: {{right: dhcp}}}}
"""
OWN = "/etc/systemd/network/05-labrun-left.network"
# systemd-networkd in place of the image's manager, with what cloud-init would have it do.
NETWORKD = r"""
rm -f /etc/NetworkManager/system-connections/*
mkdir -p /etc/systemd/network
for path in /sys/class/net/eth*; do
nic=${path##*/}
{ printf '[Match]\nMACAddress=%s\n[Network]\n' "$(cat "$path/address")"
if ip -4 address show dev "$nic" | grep -q dynamic; then echo DHCP=ipv4
else ip -o address show dev "$nic" scope global | sed 's/.* inet6* \([^ ]*\) .*/Address=\1/'
fi
} >"/etc/systemd/network/10-cloud-init-$nic.network"
done
systemctl -q mask --now NetworkManager
# NetworkManager leaves its addresses with flags of its own.
for path in /sys/class/net/eth*; do ip address flush dev "${path##*/}" scope global; done
systemctl -q enable --now systemd-networkd
"""
# By other commands than labrun's own. An address gets its route's metric only when systemd-networkd adds it.
STATE = r"""
cd /; grep -rs . etc/systemd/network
ls -A /var/lib/labrun | grep -vE 'rolled-back|^begun$'; ls /run | grep labrun-guard
ip -brief address show scope global | sed 's/@[^ ]*//; s/ metric [0-9]*//g' | tr -s ' '
ip route | sed '/proto kernel/s/ metric [0-9]*//'
ip -6 route | sed 's/ expires [^ ]*//; /proto kernel/s/ metric [0-9]*//'
true
"""


def with_networkd(lab: RunningLab, *hosts: str) -> None:
    """Have systemd-networkd configure the hosts' NICs, and wait until it does."""
    for host in hosts:
        inside(f"{NAME}-{host}", NETWORKD)
        wait_until(f"{NAME}-{host}", "[ $(networkctl list | grep -c ' configured') -ge 1 ]", seconds=30)


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A router of NetworkManager between two hosts of systemd-networkd, not configured yet."""
    lab = write_lab(tmp_path_factory.mktemp("networkd"), LAB.replace("ONE", "").replace("MORE", ""))
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        with_networkd(lab, "one", "two")
        yield lab
    finally:
        lab.run("-y", "down")


def other(lab: RunningLab, *, one: str = "", more: str = "") -> RunningLab:
    """Return the lab with something else in the file for the host ``one``."""
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace("ONE", one).replace("MORE", more), encoding="utf-8")
    return RunningLab(path, lab.state)


def state(host: str) -> str:
    return inside(f"{NAME}-{host}", STATE)


def test_a_lab_of_both_is_configured_verified_and_has_not_drifted(lab: RunningLab) -> None:
    first = lab.json("configure")
    assert first.exit_code == 0, first.trouble()
    assert {row["host"]: row["status"] for row in first.of("nmcli")} == {
        "gw": "changed",
        "one": "changed",
        "two": "changed",
    }
    assert "Gateway=10.62.40.254" in inside(f"{NAME}-one", f"cat {OWN}")
    again = lab.json("configure")
    assert (again.exit_code, again.statuses("nmcli")) == (0, {"ok"}), again.trouble()
    for verb in ("verify", "drift"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()
    # Nothing of NetworkManager's is made where it is not.
    assert inside(f"{NAME}-one", "ls /etc/NetworkManager/system-connections") == ""


def test_what_was_added_by_hand_is_drift_and_goes(lab: RunningLab) -> None:
    before = state("one")
    lab.guest("one", "ip address add 10.62.40.99/24 dev eth0; ip route add 10.9.0.0/16 via 10.62.40.254")
    drift = lab.json("drift")
    assert drift.exit_code == 3
    (row,) = [row for row in drift.of("nmcli") if row["status"] != "ok"]
    assert (row["host"], row["status"]) == ("one", "conflict" if row["status"] == "conflict" else "drifted")
    assert row["diff"] == "-address 10.62.40.99/24\n-route 10.9.0.0/16 via 10.62.40.254"
    lines = lab.run("configure", "--only", "nmcli", "--hosts", "one", "--dry-run", "--explain").stdout
    assert "networkctl reconfigure eth0" in lines
    mended = lab.json("configure", "--only", "nmcli", "--hosts", "one")
    assert (mended.exit_code, mended.statuses()) == (0, {"changed"}), mended.trouble()
    assert state("one") == before


@pytest.mark.full
def test_a_file_changed_by_hand_is_drift_and_comes_back(lab: RunningLab) -> None:
    before = state("one")
    lab.guest("one", f"sed -i s/10.62.40.254/10.62.40.253/ {OWN}; networkctl reload")
    (row,) = [row for row in lab.json("drift").of("nmcli") if row["status"] != "ok"]
    assert "-[Route] Gateway=10.62.40.253\n+[Route] Gateway=10.62.40.254" in row["diff"]
    mended = lab.json("configure", "--only", "nmcli", "--hosts", "one")
    assert (mended.exit_code, mended.statuses()) == (0, {"changed"}), mended.trouble()
    assert state("one") == before


def test_a_change_that_loses_the_gateway_is_rolled_back(lab: RunningLab) -> None:
    before = state("one")
    answer = other(lab, more=", gateway: 10.62.40.250").json(
        "configure", "--only", "nmcli", "--hosts", "one", "--confirm-timeout", "10"
    )
    (row,) = answer.rows
    assert (row["status"], row["why"]) == (
        "rolled-back",
        "the gateway 10.62.40.250 does not answer; the host rolled back",
    )
    assert state("one") == before


def test_what_the_next_boot_would_not_bring_is_a_failure_and_says_so(lab: RunningLab) -> None:
    lab.guest("one", "systemctl -q disable systemd-networkd")
    try:
        (row,) = lab.json("configure", "--only", "nmcli", "--hosts", "one").rows
    finally:
        lab.guest("one", "systemctl -q enable systemd-networkd")
    assert row["status"] == "failed"
    assert row["why"] == (
        "systemd-networkd.service does not start at boot, it is disabled:"
        " `systemctl enable systemd-networkd.service`"
    )


@pytest.mark.full
def test_properties_of_nmcli_are_refused_before_anything_is_changed(lab: RunningLab) -> None:
    before = state("one")
    asked = other(lab, one=", nmcli: {ipv4.route-metric: 50}")
    (row,) = asked.json("configure", "--only", "nmcli", "--hosts", "one").rows
    assert row["status"] == "failed"
    assert row["why"] == (
        "`nmcli` needs NetworkManager, and systemd-networkd has this NIC:"
        " take ipv4.route-metric out of the file"
    )
    assert state("one") == before


@pytest.mark.full
def test_an_address_that_cuts_the_session_is_rolled_back_by_the_host(lab: RunningLab) -> None:
    before = state("one")
    asked = other(lab)
    text = asked.path.read_text(encoding="utf-8")
    asked.path.write_text(text.replace("10.62.40.11", "10.62.40.12"), encoding="utf-8")
    inside(
        f"{NAME}-one",
        "nft add table inet shut; nft add chain inet shut in "
        "'{type filter hook input priority 0; policy accept;}'; "
        "nft add rule inet shut in ip daddr 10.62.40.12 tcp dport 22 drop",
    )
    answer = asked.json("configure", "--only", "nmcli", "--hosts", "one", "--confirm-timeout", "10")
    inside(f"{NAME}-one", "nft delete table inet shut")
    (row,) = answer.rows
    assert row["status"] == "rolled-back", row
    assert state("one") == before


@pytest.mark.full
def test_a_host_that_boots_comes_back_as_configured(lab: RunningLab) -> None:
    for words in (("configure",), ("restart", "--hosts", "one"), ("up",)):
        answer = lab.json(*words)
        assert answer.exit_code == 0, answer.trouble()
    again = lab.json("configure")
    assert (again.exit_code, again.statuses("nmcli")) == (0, {"ok"}), again.trouble()
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()


@pytest.mark.full
def test_a_power_cut_before_the_confirmation_ends_in_the_former_files(lab: RunningLab) -> None:
    # The routes of addresses have their metrics from the boot on.
    for words in (("configure",), ("restart", "--hosts", "one"), ("up",)):
        answer = lab.json(*words)
        assert answer.exit_code == 0, answer.trouble()
    before = state("one")
    domain = f"{NAME}-one"
    changing = other(lab, more=", gateway: 10.62.40.250").start(
        "configure", "--only", "nmcli", "--hosts", "one"
    )
    try:
        wait_until(domain, "[ -e /var/lib/labrun/guard/changed ]")
        for verb in ("destroy", "start"):
            subprocess.run(["virsh", "-q", "-c", "lxc:///system", verb, domain], check=True)
    finally:
        changing.wait(timeout=300)
    wait_until(domain, "networkctl list | grep -q ' configured'")
    wait_until(domain, "[ ! -e /var/lib/labrun/guard ]")
    assert state("one") == before
    again = lab.json("configure", "--only", "nmcli", "--hosts", "one")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
