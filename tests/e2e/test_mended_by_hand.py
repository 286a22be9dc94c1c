"""What the screen says to type `by hand` really mends the fault: after that, everything is ok again."""

from __future__ import annotations

import re

import pytest

from tests.labs import RunningLab

_LINE = re.compile(r"^ {4}(?:by hand| {7}) {3}sudo (?P<command>.+?)(?:   # on (?P<host>\S+))?$", re.MULTILINE)


def typed(screen: str) -> list[tuple[str, str]]:
    """Return host and command of each line to type; a line without a host is for the one before."""
    lines: list[tuple[str, str]] = []
    for match in _LINE.finditer(screen):
        lines.append((match["host"] or lines[-1][0], match["command"]))
    return lines


def mended(lab: RunningLab, host: str, fault: str) -> None:
    lab.guest(host, fault)
    try:
        broken = lab.run("verify")
        assert broken.exit_code == 1, broken.stdout
        assert "\n1 cause\nx " in broken.stdout, broken.stdout
        commands = typed(broken.stdout)
        assert {where for where, _ in commands} == {host}, broken.stdout
        for where, command in commands:
            lab.guest(where, command)
        after = lab.run("verify")
        assert after.exit_code == 0, (commands, after.stdout)
        assert len(after.stdout.splitlines()) <= 3, "all is well in a title and the counts"
    finally:
        done = lab.json("configure")
        assert done.exit_code == 0, done.trouble()


@pytest.mark.full
def test_a_setting_of_the_kernel(kvm_network_lab: RunningLab) -> None:
    mended(kvm_network_lab, "host00", "sysctl -qw net.ipv4.ip_forward=0")


@pytest.mark.full
@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("host01", "ip route del default"),
        ("host01", "ip route replace default via 10.116.0.12"),
        ("host02", "ip route add blackhole 10.117.0.11/32"),
        ("host03", "ip address add 10.65.0.99/24 dev eth0"),
    ],
)
def test_addresses_and_routes(kvm_network_lab: RunningLab, host: str, fault: str) -> None:
    mended(kvm_network_lab, host, fault)
