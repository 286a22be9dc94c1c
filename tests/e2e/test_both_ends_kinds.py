"""What both ends of a link have in common and the file changes: an MTU, a gateway, a prefix, its length."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import configured_lab, write_lab
from tests.e2e.guests import inside
from tests.labs import RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

TEXT = """\
name: e2e-bothkinds
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.196.66.0/24}
  mid: {mode: very-isolated, cidr: 10.196.67.0/24, cidr6: "fd00:196:67::/64"}
hosts:
  gate: {role: router, networks: {left: 10.196.66.254, mid: {ipv4: 10.196.67.100, ipv6: "fd00:196:67::100"}}}
  member: {networks: {mid: {ipv4: 10.196.67.11, ipv6: "fd00:196:67::11"}}}
"""
# What the file had, what it has instead, and what each guest then shows.
KINDS = {
    "mtu": ("mode: very-isolated,", "mode: very-isolated, mtu: 1400,", ("mtu 1400", "mtu 1400")),
    "gateway": ("10.196.67.100", "10.196.67.101", (" 10.196.67.101/24 ", "default via 10.196.67.101 ")),
    "length": ("10.196.67.0/24", "10.196.67.0/25", (" 10.196.67.100/25 ", " 10.196.67.11/25 ")),
    "prefix": ("fd00:196:67:", "fd00:196:68:", (" fd00:196:68::100/64 ", " fd00:196:68::11/64 ")),
}
# The first attempt may be rolled back before the second begins.
SLOW = ("--timeout", "300")
SHOWN = "ip address; ip route; ip -6 route"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with configured_lab(tmp_path_factory.mktemp("bothkinds"), TEXT) as made:
        yield made


def shown() -> dict[str, str]:
    """Return what each host has, by other commands than labrun's own."""
    return {host: inside(f"e2e-bothkinds-{host}", SHOWN) for host in ("gate", "member")}


@pytest.mark.parametrize("kind", KINDS)
def test_both_follow_and_go_back_and_a_second_run_changes_nothing(lab: RunningLab, kind: str) -> None:
    old, new, marks = KINDS[kind]
    assert old in TEXT
    other = RunningLab(write_lab(lab.path.parent / kind, TEXT.replace(old, new)).path, lab.state)
    for there in (other, lab):
        configured = there.json(*SLOW, "configure")
        assert configured.exit_code == 0, configured.trouble()
        assert configured.statuses() >= {"changed"}, configured.rows
        has = tuple(mark in text for mark, text in zip(marks, shown().values(), strict=True))
        assert has == ((there is other),) * 2, shown()
        again = there.json(*SLOW, "configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
