"""NICs of ifupdown: the stanzas that say what a profile says, and what a guest's answers make necessary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from labrun.tasks.configure.ifupdown_file import file_path, file_text
from labrun.tasks.configure.nic_families import family_of
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.keyfile import Sections
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item
from tests.unit.nic_wants import MAC, want

MAIN = "/etc/network/interfaces"
OWN = f"{MAIN}.d/labrun-left"
CLOUD = f"{MAIN}.d/50-cloud-init"
SOURCE = "source /etc/network/interfaces.d/*\n"
PLAIN: Sections = {
    "ethernet": {"mac-address": MAC, "mtu": "1400"},
    "ipv4": {
        "method": "manual",
        "address1": "10.0.0.11/24",
        "address2": "10.0.0.12/24",
        "route1": "10.1.0.0/24,10.0.0.254",
        "gateway": "10.0.0.1",
        "dns": "10.0.0.1;",
        "dns-search": "lab.test;",
    },
    "ipv6": {"method": "link-local"},
}
RA = ">/proc/sys/net/ipv6/conf/$IFACE/accept_ra || :"
WANTED = f"""\
auto eth0
iface eth0 inet static
    address 10.0.0.11/24
    pre-up echo 0 {RA}
    up ip -4 route replace default via 10.0.0.1 dev $IFACE metric 100
"""
VIA = "    up ip -4 route replace default via 10.0.0.1 dev $IFACE"
DEFAULT = {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "protocol": "boot", "metric": 100}


def test_a_fixed_address_with_everything_around_it() -> None:
    assert file_path("left") == OWN
    assert (
        file_text(PLAIN, "eth0", 100)
        == f"""\
auto eth0
iface eth0 inet static
    address 10.0.0.11/24
    pre-up echo 0 {RA}
    pre-up ip link set dev $IFACE mtu 1400
    dns-nameservers 10.0.0.1
    dns-search lab.test
    up ip address replace 10.0.0.12/24 dev $IFACE
    up ip -4 route replace default via 10.0.0.1 dev $IFACE metric 100
    up ip -4 route replace 10.1.0.0/24 via 10.0.0.254 dev $IFACE metric 100
"""
    )


def test_leases_and_advertisements_without_the_default_that_is_not_wanted() -> None:
    text = file_text(
        {
            "ipv4": {"method": "auto", "never-default": "true", "route1": "10.9.0.0/16,10.0.0.254"},
            "ipv6": {"method": "auto", "ignore-auto-routes": "true"},
        },
        "eth1",
        101,
    )
    assert (
        text
        == f"""\
auto eth1
iface eth1 inet dhcp
    pre-up echo 2 {RA}
    up ip -4 route flush default dev $IFACE
    up ip -4 route replace 10.9.0.0/16 via 10.0.0.254 dev $IFACE metric 101
iface eth1 inet6 auto
    accept_ra 2
    up ip -6 route flush default dev $IFACE
"""
    )


def test_a_second_nic_of_a_network_steps_back_and_a_nic_may_have_ipv6_alone() -> None:
    later = file_text(
        {"ipv4": {"method": "manual", "address1": "10.0.0.13/24", "route-metric": "200"}, "ipv6": {}},
        "eth1",
        9,
    )
    assert "    up ip address change 10.0.0.13/24 dev $IFACE metric 200\n" in later
    six = file_text(
        {"ipv4": {"method": "disabled"}, "ipv6": {"method": "manual", "address1": "fd00::1/64"}}, "eth0", 100
    )
    assert six.startswith(f"auto eth0\niface eth0 inet manual\n    pre-up echo 0 {RA}\n    up ip link set")
    assert "iface eth0 inet6 static\n    address fd00::1/64\n" in six


def facts(
    files: Mapping[str, str],
    *,
    up: str = "lo=lo\neth0=eth0\n",
    routes: tuple[Mapping[str, Any], ...] = (DEFAULT,),
    leases: str = "",
    leased: bool = False,
    words: tuple[str, ...] = ("ifupdown",),
) -> Facts:
    """Return what a guest of ifupdown answers."""
    link = {
        "ifindex": 2,
        "ifname": "eth0",
        "link_type": "ether",
        "flags": ["UP"],
        "operstate": "UP",
        "mtu": 1500,
        "address": MAC,
        "addr_info": [
            {
                "family": "inet",
                "local": "10.0.0.11",
                "prefixlen": 24,
                "scope": "global",
                "dynamic": leased,
            }
        ],
    }
    lines = (f"{path}:{line}\n" for path, text in files.items() for line in text.splitlines())
    commands = {
        "nm": Captured("", 1, "Call failed: The name is not known"),
        "link": Captured(json.dumps([link]), 0),
        "route4": Captured(json.dumps(routes), 0),
        "ifupdown-files": Captured("".join(lines), 0),
        "ifupdown-up": Captured(up, 1),
        "ifupdown-leases": Captured(leases, 0),
    }
    return Facts({}, commands, frozenset(words))


def planned(found: Facts, **more: Any) -> tuple[SectionPlan, Item]:
    plan = Nmcli().plan(want(**more), found)
    return plan, plan.items[0]


def test_a_nic_as_declared_needs_nothing() -> None:
    plan, item = planned(facts({MAIN: SOURCE, OWN: WANTED}))
    assert (item.state, item.actual, plan.apply, plan.undo) == ("ok", "10.0.0.11/24 via 10.0.0.1", "", "")


def test_an_mtu_that_the_file_does_not_name_is_the_usual_one() -> None:
    found = facts({MAIN: SOURCE, OWN: WANTED})
    assert planned(found, usual_mtu=True)[1].state == "ok"
    text = found.commands["link"].text.replace('"mtu": 1500', '"mtu": 1400')
    small = Facts({}, {**found.commands, "link": Captured(text, 0)}, found.words)
    plan, item = planned(small, usual_mtu=True)
    assert item.diff == "-eth0: mtu 1400\n+eth0: mtu 1500"
    assert "bring eth0 left 1500 " in plan.apply
    assert "bring eth0 eth0 1400 " in plan.undo
    assert plan.commands[0] == "ip link set dev eth0 mtu 1500"
    assert planned(small)[1].state == "ok"


def test_cloud_inits_stanzas_give_way_to_labruns_and_come_back() -> None:
    cloud = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n    address 10.0.0.11/24\n"
    plan, item = planned(facts({MAIN: SOURCE, CLOUD: cloud}, routes=()))
    assert item.state == "change"
    assert item.diff is not None
    assert f"-{CLOUD}\n+route default via 10.0.0.1" in item.diff
    assert plan.saves == (OWN, CLOUD)
    assert f"rm -f {CLOUD}\n" in plan.apply
    assert "\nbring eth0 left '' '' || bad=1" in plan.apply
    assert f"restore {OWN}\nrestore {CLOUD}\n" in plan.undo
    assert "bring eth0 eth0 1500 '' || bad=1" in plan.undo


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (
            facts({MAIN: SOURCE, OWN: WANTED.replace(" metric 100", "")}),
            f"-{VIA}\n+{VIA} metric 100",
        ),
        (facts({MAIN: SOURCE, OWN: WANTED}, routes=()), "+route default via 10.0.0.1"),
        (facts({MAIN: SOURCE, OWN: WANTED}, up="lo=lo\n"), "+eth0: brought up by ifup"),
    ],
    ids=["the file", "the kernel", "not up"],
)
def test_whatever_is_off_is_put_right(found: Facts, lines: str) -> None:
    plan, item = planned(found)
    assert (item.state, item.diff) == ("change", lines)
    assert "bring eth0 left" in plan.apply


@pytest.mark.parametrize(
    ("files", "more", "why"),
    [
        (
            {MAIN: "iface eth0 inet dhcp\n"},
            {},
            f"{MAIN} does not read {MAIN}.d: add `source-directory {MAIN}.d` to it",
        ),
        (
            {MAIN: f"{SOURCE}iface eth0 inet dhcp\n"},
            {},
            "/etc/network/interfaces has a stanza of eth0 too: remove it there",
        ),
        (
            {MAIN: SOURCE, OWN: WANTED},
            {"properties": {"ipv4.dns-search": "x"}},
            "`nmcli` needs NetworkManager, and ifupdown has this NIC: take ipv4.dns-search out of the file",
        ),
        (
            {MAIN: SOURCE, OWN: WANTED},
            {"settings": PLAIN},
            "ifupdown leaves name servers to resolvconf, which is not installed: install openresolv",
        ),
        (
            {MAIN: SOURCE, OWN: WANTED},
            {"mac": "02:00:00:00:00:99", "settings": PLAIN},
            None,
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    files: Mapping[str, str], more: Mapping[str, Any], why: str | None
) -> None:
    found = facts(files)
    plan, item = planned(found, **more)
    if why is None:
        # No NIC of the lab is here, so no family holds one.
        assert family_of(want(**more), found).name == "NetworkManager"
        return
    assert (item.state, item.why, plan.apply) == ("refused", why, "")


SECOND = {
    "ifindex": 3,
    "ifname": "eth1",
    "link_type": "ether",
    "flags": ["UP"],
    "operstate": "UP",
    "mtu": 1500,
    "address": "02:00:00:00:00:02",
    "addr_info": [],
}
BOTH = """\
auto lo
iface lo inet loopback
auto eth0 eth1
iface eth0 inet static
    address 10.0.0.11/24
allow-hotplug eth1
iface eth1 inet static
    address 10.2.0.11/24
    # by hand
source /elsewhere
"""


def with_second(files: Mapping[str, str]) -> Facts:
    """Return what a guest with a second NIC answers."""
    found = facts(files, up="lo=lo\neth0=eth0\neth1=eth1\n")
    links = [*json.loads(found.commands["link"].text), SECOND]
    return Facts({}, {**found.commands, "link": Captured(json.dumps(links), 0)}, found.words)


def test_ifupdown_ng_knows_no_pattern_and_is_told_the_folder() -> None:
    """With the pattern it cannot read any of its files, and brings up nothing."""
    ng = ("ifupdown", "ifupdown-ng")
    plan, item = planned(facts({MAIN: SOURCE, OWN: WANTED}, words=ng))
    why = f"ifupdown-ng does not know the pattern in `{SOURCE.strip()}` of {MAIN}"
    assert (item.state, item.why, plan.apply) == (
        "refused",
        f"{why}: write `source-directory {MAIN}.d`",
        "",
    )
    told = {MAIN: f"source-directory {MAIN}.d\n", OWN: WANTED}
    for words in (ng, ng[:1]):
        assert planned(facts(told, words=words))[1].state == "ok"


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_refused_nic_keeps_what_it_has_in_a_file_that_goes_for_another(exclusive: bool) -> None:
    wanted = want()
    refused = {
        **wanted["profiles"][0],
        "network": "right",
        "mac": SECOND["address"],
        "properties": {"ipv4.dns-search": "x"},
    }
    wanted = {**wanted, "profiles": [*wanted["profiles"], refused], "exclusive": exclusive}
    plan = Nmcli().plan(wanted, with_second({MAIN: SOURCE, CLOUD: BOTH}))
    assert {item.name: item.state for item in plan.items if item.name in ("left", "right")} == {
        "left": "change",
        "right": "refused",
    }
    kept = "auto eth1\nallow-hotplug eth1\niface eth1 inet static\n    address 10.2.0.11/24\n    # by hand\n"
    assert kept in plan.apply
    assert f"rm -f {CLOUD}" not in plan.apply
    assert CLOUD in plan.saves
    again = Nmcli().plan(wanted, with_second({MAIN: SOURCE, CLOUD: kept, OWN: WANTED}))
    assert (again.apply, [item.state for item in again.items]) == ("", ["ok", "refused"])


def test_a_default_that_a_lease_gave_is_no_stranger() -> None:
    settings = {"ipv4": {"method": "auto"}, "ipv6": {"method": "link-local"}}
    text = file_text(settings, "eth0", 100)
    route = {**DEFAULT, "metric": 0}
    found = facts(
        {MAIN: SOURCE, OWN: text}, routes=(route,), leases="  option routers 10.0.0.1;\n", leased=True
    )
    assert planned(found, settings=settings)[1].state == "ok"
    by_hand = facts(
        {MAIN: SOURCE, OWN: text}, routes=(route,), leases="  option routers 10.0.0.9;\n", leased=True
    )
    assert planned(by_hand, settings=settings)[1].diff == "-route default via 10.0.0.1"


def test_labruns_file_for_a_former_nic_goes() -> None:
    former = f"{MAIN}.d/labrun-gone"
    plan = Nmcli().plan(want(), facts({MAIN: SOURCE, OWN: WANTED, former: "iface eth9 inet manual\n"}))
    assert [(item.name, item.state) for item in plan.items] == [("left", "ok"), ("gone", "change")]
    assert f"rm -f {former}\n" in plan.apply
