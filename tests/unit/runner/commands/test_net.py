"""The table of guests that `labrun net` shows: at 80 columns no cell of an ordinary lab is folded."""

from __future__ import annotations

import io
import sys
from ipaddress import ip_address

import pytest

from labrun.runner.commands.net import guest_table
from labrun.tasks.provision.network_view import GivenLease, NetworkView, Plug

NOW = 1_800_000_000
MACS = ["02:35:1e:b3:77:01", "02:35:1e:b3:77:02"]


def view(name: str, hosts: list[str], lasts: int) -> NetworkView:
    plugs = tuple(
        Plug(f"lab-{host}", host, mac, f"lr{mac.replace(':', '')}")
        for host, mac in zip(hosts, MACS, strict=True)
    )
    leases = tuple(
        GivenLease(mac, ip_address(f"172.31.200.{130 + number}"), hosts[number], lasts and NOW + lasts)
        for number, mac in enumerate(MACS)
    )
    return NetworkView(name, f"lab-{name}", "uuid", "virbr7", True, ("172.31.200.1/24",), leases, plugs)


@pytest.mark.parametrize("lasts", [3599, 5 * 3600, 23 * 3600, 300 * 86400, 0])
def test_at_80_columns_every_guest_takes_one_line(monkeypatch: pytest.MonkeyPatch, lasts: int) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "80")
    hosts = ["router-north", "workstation-12"]
    lines = guest_table({"client-lan": view("client-lan", hosts, lasts)}, NOW, color=False).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert [line.split()[:4] for line in lines[1:]] == [
        ["client-lan", host, f"lr{mac.replace(':', '')}", f"172.31.200.{130 + number}"]
        for number, (host, mac) in enumerate(zip(hosts, MACS, strict=True))
    ]
    left = {3599: "in 59 min", 18000: "in 5 h", 82800: "in 23 h", 25920000: "in 300 d", 0: "never"}[lasts]
    assert all(line.endswith(left) for line in lines[1:])


def test_where_there_is_room_a_lease_has_its_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "120")
    text = guest_table({"n": view("n", ["a", "b"], 3599)}, NOW, color=False)
    assert text.count(":") == 2
    assert text.count(", in 59 min\n") == 2


def test_without_guests_there_is_no_table() -> None:
    assert guest_table({}, NOW, color=False) == ""
