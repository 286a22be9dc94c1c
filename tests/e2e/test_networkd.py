"""Hosts whose NICs systemd-networkd has: configured, verified, found drifted, rolled back, as any other."""

from __future__ import annotations

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
systemctl -q enable --now systemd-networkd
"""
# By other commands than labrun's own.
STATE = """\
cd /; grep -rs . etc/systemd/network; ls -A /var/lib/labrun | grep -v rolled-back; ls /run | grep labrun-guard
ip -brief address show scope global | sed 's/@[^ ]*//' | tr -s ' '
ip route; ip -6 route | sed 's/ expires [^ ]*//'
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
        assert up.exit_code == 0, up.bad() or up.stderr
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
    assert first.exit_code == 0, first.bad()
    assert {row["host"]: row["status"] for row in first.of("nmcli")} == {
        "gw": "changed",
        "one": "changed",
        "two": "changed",
    }
    assert "Gateway=10.62.40.254" in inside(f"{NAME}-one", f"cat {OWN}")
    again = lab.json("configure")
    assert (again.exit_code, again.statuses("nmcli")) == (0, {"ok"}), again.bad()
    for verb in ("verify", "drift"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.bad()
    # Nothing of NetworkManager's is made where it is not.
    assert inside(f"{NAME}-one", "ls /etc/NetworkManager/system-connections") == ""
