"""Verdicts over what the network shows: a row has moved with the settings that it follows from."""

from __future__ import annotations

import pytest

from labrun.outcome import Nic, Outcome, Pair, Status
from labrun.tasks.drift.network_rows import with_verdicts
from tests.unit.small_labs import host, lab, network

LAB = lab(
    [network("n", None, cidr6="fd00:1::/64"), network("m", None, cidr6="fd00:2::/64")],
    [
        host("a", {"n": "fd00:1::a/64"}),
        host("r", {"n": "fd00:1::f/64", "m": "fd00:2::f/64"}, role="router"),
        host("b", {"m": "fd00:2::b/64"}),
    ],
)
PATH = Outcome("a", "path", "a -> b", Status.FAILED, subject=Pair("a", "b", 6))
CHECK = Outcome("a", "check", "web over IPv6", Status.FAILED, subject=Pair("a", "b", 6))
ADDRESS = Outcome("r", "address", "m", Status.FAILED, subject=Nic("r", "m"))


def pending(section: str, name: str) -> list[Outcome]:
    return [Outcome("r", section, name, Status.PENDING)]


@pytest.mark.parametrize(
    ("row", "settings", "status"),
    [
        (PATH, pending("sysctl", "net.ipv6.conf.all.forwarding"), Status.PENDING),
        (PATH, pending("sshd", "permitrootlogin"), Status.DRIFTED),
        (CHECK, pending("services", "nginx.service"), Status.PENDING),
        (ADDRESS, pending("nmcli", "m"), Status.PENDING),
        (ADDRESS, pending("nmcli", "n"), Status.DRIFTED),
    ],
)
def test_what_is_pending_on_a_router_of_the_way_explains_the_row(
    row: Outcome, settings: list[Outcome], status: Status
) -> None:
    (found,) = with_verdicts(LAB, [row], {"r": settings}, [])
    assert (found.status, found.subject) == (status, row.subject)


def test_what_cannot_be_reached_yet_is_pending_at_either_end() -> None:
    silent = Outcome("a", "path", "a -> b", Status.UNREACHABLE, subject=Pair("a", "b", 6))
    assert [row.status for row in with_verdicts(LAB, [silent], {}, ["b"])] == [Status.PENDING]
    assert [row.status for row in with_verdicts(LAB, [silent], {}, ["r"])] == [Status.UNREACHABLE]
