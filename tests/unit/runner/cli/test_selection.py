"""``--hosts a,b,@group``: names and groups, file order, unknown names refused with the nearest one."""

from __future__ import annotations

from ipaddress import IPv4Interface
from types import MappingProxyType

import pytest

from labrun.errors import UsageError
from labrun.inventory.model import Host, Interface, Lab, Mode, Network, Role
from labrun.runner.cli.selection import select_hosts


def host(name: str, *networks: str, role: Role = Role.HOST) -> Host:
    nics = tuple(
        Interface(network, f"02:00:00:00:00:{number:02x}", IPv4Interface("10.0.0.1/24"))
        for number, network in enumerate(networks)
    )
    return Host(name, role, nics, user="lab", machine=None)


LAB = Lab(
    name="demo",
    hypervisor="auto",
    networks={name: Network(name, Mode.ISOLATED) for name in ("net1", "net2")},
    hosts={
        "r": host("r", "net1", "net2", role=Role.ROUTER),
        "web1": host("web1", "net1"),
        "db": host("db", "net2"),
        "web2": host("web2", "net2"),
    },
    groups=MappingProxyType({"web": ("web2", "web1"), "none": ()}),
)


@pytest.mark.parametrize(
    ("expression", "hosts"),
    [
        (None, ("r", "web1", "db", "web2")),
        ("web2", ("web2",)),
        ("web2,r", ("r", "web2")),
        (" web2 , r ,", ("r", "web2")),
        ("db,db", ("db",)),
        ("@web", ("web1", "web2")),
        ("@web,web1,db", ("web1", "db", "web2")),
        ("@router", ("r",)),
        ("@host", ("web1", "db", "web2")),
        ("@net2", ("r", "db", "web2")),
        ("@demo", ("r", "web1", "db", "web2")),
        ("@none,db", ("db",)),
    ],
)
def test_names_and_groups_in_file_order(expression: str | None, hosts: tuple[str, ...]) -> None:
    assert select_hosts(LAB, expression) == hosts


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("web3", 'unknown host "web3" (did you mean "web2"?)'),
        ("web", 'unknown host "web" (did you mean "@web"?)'),
        ("@wbe", 'unknown group "@wbe" (did you mean "@web"?)'),
        ("zzzzzz", 'unknown host "zzzzzz"'),
        ("WEB1", 'unknown host "WEB1" (did you mean "web1"?)'),
        (
            "dbb,r,@nat",
            'unknown host "dbb" (did you mean "db"?); unknown group "@nat" (did you mean "@net2"?)',
        ),
        ("@", 'unknown group "@"'),
        ("", "names no host"),
        (" , ", "names no host"),
        ("@none", "names no host"),
    ],
)
def test_what_is_unknown_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        select_hosts(LAB, expression)
    assert (caught.value.reason, caught.value.step, caught.value.exit_code) == (reason, "--hosts", 2)


def test_the_hint_lists_the_hosts() -> None:
    with pytest.raises(UsageError) as caught:
        select_hosts(LAB, "zzzzzz")
    assert caught.value.hint == "the lab has r, web1, db, web2"
