"""Which family a guest is of, and what its NICs then need: pure functions of one gather."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from labrun.tasks.configure.nic_families import FAMILIES, family_of
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item
from tests.unit.nic_wants import MAC, want

OWN = "/etc/systemd/network/05-labrun-left.network"
CLOUD = "/etc/systemd/network/10-cloud-init-eth0.network"
NETPLAN = "/run/systemd/network/10-netplan-eth0.network"
WANTED = f"""\
[Match]
MACAddress={MAC}
Type=ether

[Network]
DHCP=no
LinkLocalAddressing=ipv6
IPv6AcceptRA=no

[Address]
Address=10.0.0.11/24
RouteMetric=100

[Route]
Gateway=10.0.0.1
Metric=100
"""
DEFAULT = {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "protocol": "static", "metric": 100}


def facts(
    files: Mapping[str, str],
    *,
    by: str = OWN,
    state: str = "configured",
    runs: bool = True,
    routes: tuple[Mapping[str, Any], ...] = (DEFAULT,),
    modes: str = "644",
    commands: Mapping[str, Captured] | None = None,
    read: Mapping[str, str] | None = None,
) -> Facts:
    """Return what a guest of systemd-networkd answers; ``by`` is the network file in force."""
    link = {
        "ifindex": 2,
        "ifname": "eth0",
        "link_type": "ether",
        "flags": ["UP"],
        "operstate": "UP",
        "mtu": 1500,
        "address": MAC,
        "addr_info": [{"family": "inet", "local": "10.0.0.11", "prefixlen": 24, "scope": "global"}],
    }
    said = f"ADMIN_STATE={state}\nDNS=\nDOMAINS=\n" + (f"NETWORK_FILE={by}\n" if by else "")
    found = {
        "nm": Captured("", 1, "Call failed: The name is not known"),
        "link": Captured(json.dumps([link]), 0),
        "route4": Captured(json.dumps(routes), 0),
        "networkd-links": Captured(
            "".join(f"/run/systemd/netif/links/2:{line}\n" for line in said.splitlines()), 0
        ),
        "networkd-modes": Captured("".join(f"{modes} root {path}\n" for path in files), 0),
        "networkd-files": Captured(
            "".join(f"{path}:{line}\n" for path, text in files.items() for line in text.splitlines()), 0
        ),
        **(commands or {}),
    }
    return Facts(read or {}, found, frozenset({"networkd-runs"}) if runs else frozenset())


def planned(found: Facts, **more: Any) -> tuple[SectionPlan, Item]:
    plan = Nmcli().plan(want(**more), found)
    return plan, plan.items[0]


def test_a_nic_as_declared_needs_nothing() -> None:
    plan, item = planned(facts({OWN: WANTED}))
    assert (item.state, item.actual, plan.apply, plan.undo) == ("ok", "10.0.0.11/24 via 10.0.0.1", "", "")


def test_a_nic_by_cloud_inits_file_gets_labruns_and_the_way_back() -> None:
    plan, item = planned(facts({CLOUD: "[Match]\nName=eth0\n"}, by=CLOUD, routes=()))
    assert item.state == "change"
    assert item.expected == "10.0.0.11/24 via 10.0.0.1"
    assert item.actual == "10.0.0.11/24 (10-cloud-init-eth0)"
    assert item.diff is not None
    assert "+[Route] Gateway=10.0.0.1\n" in item.diff
    assert f"-eth0: {CLOUD}\n+eth0: {OWN}" in item.diff
    assert plan.saves == (OWN,)
    assert "networkctl reload\nbring eth0 " in plan.apply
    assert f"restore {OWN}\n" in plan.undo
    assert f"back eth0 {CLOUD} 1500" in plan.undo
    assert plan.checkpoint is False
    assert plan.commands[1:] == ("networkctl reload", "networkctl reconfigure eth0")
    # Others' files stay.
    assert "rm -f" not in plan.apply


def test_only_the_kernels_state_is_off_so_no_file_is_written() -> None:
    plan, item = planned(facts({OWN: WANTED}, routes=()))
    assert item.diff == "+route default via 10.0.0.1"
    assert plan.saves == ()
    assert f"bring eth0 {OWN} again left" in plan.apply
    assert plan.commands == ("networkctl reconfigure eth0",)


def with_mtu(found: Facts, mtu: int) -> Facts:
    """Return the same gather with another MTU of the NIC."""
    (link,) = json.loads(found.commands["link"].text)
    return replace(
        found, commands={**found.commands, "link": Captured(json.dumps([{**link, "mtu": mtu}]), 0)}
    )


@pytest.mark.parametrize("usual", [True, False])
def test_an_mtu_that_the_file_does_not_name_is_the_usual_one_on_labruns_own_networks(usual: bool) -> None:
    assert planned(facts({OWN: WANTED}), usual_mtu=usual)[1].state == "ok"
    plan, item = planned(with_mtu(facts({OWN: WANTED}), 1400), usual_mtu=usual)
    if not usual:
        assert (item.state, plan.apply) == ("ok", "")
        return
    assert item.diff == "-eth0: mtu 1400\n+eth0: mtu 1500"
    assert "ip link set dev eth0 mtu 1500\n" in plan.apply
    assert f"back eth0 {OWN} 1400" in plan.undo
    assert plan.commands == ("ip link set dev eth0 mtu 1500", "networkctl reconfigure eth0")


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"files": {OWN: WANTED + "# by hand\n"}}, ""),
        (
            {"files": {OWN: WANTED.replace("Metric=100\n", "Metric=7\n")}},
            "-[Address] RouteMetric=7\n+[Address] RouteMetric=100\n-[Route] Metric=7\n+[Route] Metric=100",
        ),
        ({"files": {OWN: WANTED, f"{OWN}.d/x.conf": "[Network]\nDHCP=yes\n"}}, f"-{OWN}.d/x.conf"),
        ({"files": {OWN: WANTED}, "modes": "600"}, f"+{OWN}: mode 0644"),
        (
            {"files": {OWN: WANTED}, "state": "unmanaged", "by": ""},
            f"-eth0: no network file (unmanaged)\n+eth0: {OWN}",
        ),
        ({"files": {OWN: WANTED}, "state": "failed"}, f"-eth0: {OWN} (failed)\n+eth0: {OWN}"),
    ],
    ids=["comment", "metric", "drop-in", "mode", "unmanaged", "failed"],
)
def test_what_differs_is_shown(change: dict[str, Any], lines: str) -> None:
    _, item = planned(facts(**change))
    assert (item.diff or "") == lines


NO_START = Captured("Id=systemd-networkd.service\nLoadState=loaded\nUnitFileState=disabled\n", 0)


@pytest.mark.parametrize(
    ("files", "commands", "why"),
    [
        (
            {OWN: WANTED},
            {"no-start systemd-networkd.service": NO_START},
            (
                "systemd-networkd.service does not start at boot, it is disabled:"
                " `systemctl enable systemd-networkd.service`"
            ),
        ),
        (
            {OWN: WANTED, "/etc/systemd/network/00-first.network": "[Match]\nName=eth*\n"},
            {},
            "/etc/systemd/network/00-first.network is for eth0 too, and comes first: remove it",
        ),
    ],
    ids=["unit", "rival"],
)
def test_what_holds_now_and_not_after_a_reboot_is_no_success(
    files: dict[str, str], commands: dict[str, Captured], why: str
) -> None:
    _, item = planned(facts(files, commands=commands))
    assert (item.state, item.why) == ("refused", why)
    assert item.actual.endswith(" after a reboot)") or item.actual.endswith("(not kept across a reboot)")


@pytest.mark.parametrize(
    ("more", "runs", "why"),
    [
        (
            {"properties": {"ipv4.route-metric": "50"}},
            True,
            (
                "`nmcli` needs NetworkManager, and systemd-networkd has this NIC:"
                " take ipv4.route-metric out of the file"
            ),
        ),
        (
            {"mac": "02:00:00:00:00:09"},
            True,
            (
                "no NIC here has the MAC 02:00:00:00:00:09: `labrun up` plugs in one that is missing,"
                " `labrun restart` takes back another MAC"
            ),
        ),
        ({}, False, "systemd-networkd is not running: `systemctl start systemd-networkd`"),
    ],
    ids=["nmcli", "no NIC", "stopped"],
)
def test_what_cannot_be_is_refused_with_the_reason(more: dict[str, Any], runs: bool, why: str) -> None:
    plan, item = planned(facts({OWN: WANTED}, runs=runs), **more)
    assert (item.state, item.why, plan.apply) == ("refused", why, "")


def test_labruns_file_of_a_former_nic_goes_and_others_only_if_they_may() -> None:
    former = "/etc/systemd/network/05-labrun-old.network"
    found = facts({OWN: WANTED, former: "[Match]\nName=x\n", CLOUD: "[Match]\nName=eth0\n"})
    plan = Nmcli().plan(want(), found)
    assert [(item.name, item.state) for item in plan.items] == [("left", "ok"), ("old", "change")]
    assert f"rm -f {former}\n" in plan.apply
    everything = Nmcli().plan({**want(), "exclusive": True}, found)
    assert f"rm -f {former} {CLOUD}\n" in everything.apply


def family(found: Facts) -> str:
    return family_of(want(), found).name


def test_the_family_is_that_of_the_manager_which_holds_the_nic() -> None:
    assert family(facts({CLOUD: "x"}, by=CLOUD)) == "systemd-networkd"
    assert family(facts({NETPLAN: "x"}, by=NETPLAN)) == "netplan"
    # It runs, and no file is for the NIC.
    assert family(facts({}, by="", state="unmanaged")) == "systemd-networkd"
    # Nobody claims the NIC: NetworkManager's family says why it cannot be set.
    assert family(Facts()) == "NetworkManager"


def test_a_guest_with_a_manager_of_no_family_is_refused_by_its_name() -> None:
    other = Facts({}, {"nm": Captured("", 1, "no such name")}, frozenset({"nic-manager wickedd"}))
    _, item = planned(other)
    families = ", ".join(family.name for family in FAMILIES)
    why = f"wickedd sets its NICs, which labrun does not know: give them to one of {families}"
    assert (item.state, item.why) == ("refused", why)
    # It may run beside one that labrun knows.
    beside = facts({OWN: WANTED})
    assert planned(replace(beside, words=beside.words | other.words))[1].state == "ok"


def test_networkmanager_that_holds_the_nic_comes_before_an_idle_systemd_networkd() -> None:
    bus = "org.freedesktop.NetworkManager"
    state = {"type": "u", "data": 100}
    device: dict[str, Any] = {
        f"{bus}.Device": {
            "DeviceType": {"type": "u", "data": 1},
            "Interface": {"type": "s", "data": "eth0"},
            "State": state,
        },
        f"{bus}.Device.Wired": {"PermHwAddress": {"type": "s", "data": MAC}},
    }
    answer = {"type": "a", "data": [{"/a": device}]}
    nm = {"nm": Captured(json.dumps(answer), 0)}
    assert family(facts({}, by="", state="unmanaged", commands=nm)) == "NetworkManager"
    assert family(facts({OWN: WANTED}, commands=nm)) == "NetworkManager"
    state["data"] = 10
    released = {"nm": Captured(json.dumps(answer), 0)}
    assert family(facts({OWN: WANTED}, commands=released)) == "systemd-networkd"


def test_netplan_keeps_a_definition_of_labruns_own_that_comes_first() -> None:
    plan, item = planned(facts({NETPLAN: "[Match]\nName=eth0\n"}, by=NETPLAN))
    path = "/etc/netplan/90-labrun-left.yaml"
    assert item.state == "change"
    assert plan.saves == (path,)
    assert "netplan generate\nnetworkctl reload\n" in plan.apply
    assert "bring eth0 /run/systemd/network/10-netplan-05-labrun-left.network" in plan.apply
    assert f"restore {path}\nnetplan generate\n" in plan.undo
    assert plan.commands[1:] == ("netplan try", "networkctl reconfigure eth0")
    text = item.want["profile"]
    ours = "/run/systemd/network/10-netplan-05-labrun-left.network"
    again, same = planned(facts({ours: "[Match]\nName=eth0\n"}, by=ours, read={path: text}))
    assert (same.state, again.apply) == ("ok", "")


def test_netplan_says_what_it_has_no_word_for() -> None:
    settings = want()["profiles"][0]["settings"]
    later = {**settings, "ipv4": {**settings["ipv4"], "route-metric": "200"}}
    _, item = planned(facts({NETPLAN: "x"}, by=NETPLAN), settings=later)
    assert item.why == (
        "netplan gives the route to a NIC's own subnet no metric: one NIC per network, or no netplan"
    )
