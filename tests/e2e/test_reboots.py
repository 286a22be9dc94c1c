"""What is said of the next boot comes true: each kind is found, the container is rebooted, and it is so."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.e2e.guests import inside, wait_until
from tests.labs import RunningLab

_UP = "systemctl --quiet is-active multi-user.target"


@dataclass(frozen=True)
class Kind:
    """What is done on a host and how it is undone, the row that has to tell, and what a boot makes of it."""

    host: str
    plant: str
    mend: str
    row: tuple[str, str]
    told: str
    after: str


KINDS = {
    "alias": Kind(
        "host00",
        "echo net.ipv4.conf.all.forwarding=0 >/etc/sysctl.d/99-hardening.conf",
        "rm /etc/sysctl.d/99-hardening.conf",
        ("sysctl", "net.ipv4.ip_forward"),
        "99-hardening.conf sets net.ipv4.conf.all.forwarding = 0",
        '[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]',
    ),
    "pattern": Kind(
        "host00",
        "echo 'net.ipv4.conf.*.forwarding=0' >/etc/sysctl.d/99-hardening.conf",
        "rm /etc/sysctl.d/99-hardening.conf",
        ("sysctl", "net.ipv4.ip_forward"),
        "99-hardening.conf sets net.ipv4.conf.*.forwarding = 0",
        '[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]',
    ),
    "nic": Kind(
        "host00",
        "echo net.ipv4.conf.eth1.forwarding=0 >/etc/sysctl.d/99-hardening.conf",
        "rm /etc/sysctl.d/99-hardening.conf",
        ("sysctl", "net.ipv4.ip_forward"),
        "99-hardening.conf sets net.ipv4.conf.eth1.forwarding = 0",
        '[ "$(cat /proc/sys/net/ipv4/conf/eth1/forwarding)" = 0 ]',
    ),
    "profile": Kind(
        "host01",
        "nmcli connection add type ethernet ifname eth0 con-name evil connection.autoconnect-priority 500"
        " ipv4.method manual ipv4.addresses 10.116.0.66/24",
        "nmcli connection delete evil",
        ("nmcli", "network1"),
        "takes eth0 at the next boot",
        "nmcli -t -f NAME,DEVICE connection show --active | grep -q ^evil:eth0",
    ),
    "masked": Kind(
        "host02",
        "systemctl mask NetworkManager",
        "systemctl unmask NetworkManager",
        ("nmcli", "network1"),
        "`systemctl unmask NetworkManager.service`",
        f"{_UP} && ! systemctl --quiet is-active NetworkManager",
    ),
    "disabled": Kind(
        "host02",
        "systemctl disable ssh",
        "systemctl enable ssh",
        ("sshd", "ssh.service"),
        "`systemctl enable ssh.service`",
        f"{_UP} && ! systemctl --quiet is-active ssh",
    ),
}


@pytest.mark.parametrize(
    "name", [name if name == "alias" else pytest.param(name, marks=pytest.mark.full) for name in KINDS]
)
def test_a_reboot_brings_what_was_said(kvm_network_lab: RunningLab, name: str) -> None:
    lab, kind = kvm_network_lab, KINDS[name]
    domain = f"e2e-kvm-{kind.host}"
    inside(domain, kind.plant)
    try:
        for command, status in (("drift", "drifted"), ("configure", "failed")):
            answer = lab.json(command, "--hosts", kind.host)
            (row,) = answer.of(kind.row[0], kind.host, kind.row[1])
            assert (row["status"], kind.told in row["why"]) == (status, True), row
        assert lab.run("-y", "restart", "--hosts", kind.host).exit_code == 0
        wait_until(domain, kind.after)
    finally:
        inside(domain, kind.mend)
        lab.run("-y", "restart", "--hosts", kind.host)
        back = lab.json("up")
        assert back.exit_code == 0, back.trouble()
    left = lab.json("drift", "--hosts", kind.host)
    assert left.exit_code == 0, left.trouble()
