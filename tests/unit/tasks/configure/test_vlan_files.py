"""A VLAN of a family that keeps NICs in files: its device is made at once, and by a file at each boot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from labrun.tasks.configure.nic_families import family_of
from labrun.tasks.configure.nm_profiles import desired_profiles
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item
from tests.unit.vlan_lab import vlans

LAB = vlans()
PHONE, GATE = LAB.hosts["phone"], LAB.hosts["gate"]
TRUNK, VOICE = PHONE.interfaces
WANT: dict[str, Any] = {"profiles": desired_profiles(LAB, PHONE), "exclusive": False, "secrets": []}
NETWORK = "/etc/systemd/network/05-labrun-"
NETPLAN = "/etc/netplan/90-labrun-"
MADE_BY_NETPLAN = "/run/systemd/network/10-netplan-"
IFUPDOWN = "/etc/network/interfaces.d/labrun-"
MAIN = {"/etc/network/interfaces": "source /etc/network/interfaces.d/*\n"}
MAKE = f"vlan_make voice vlan30 eth0 30 {VOICE.mac} || bad=1"
DEFAULT = {"dst": "default", "gateway": "10.1.30.1", "dev": "vlan30", "protocol": "static", "metric": 101}


def nic(index: int, name: str, mac: str, address: str = "", **more: Any) -> dict[str, Any]:
    ip, _, length = address.partition("/")
    held = [{"family": "inet", "local": ip, "prefixlen": int(length), "scope": "global"}] if ip else []
    common = {"link_type": "ether", "flags": ["UP"], "operstate": "UP", "mtu": 1500}
    return {"ifindex": index, "ifname": name, "address": mac, "addr_info": held, **common, **more}


def vlan(
    tag: int = 30, mac: str = VOICE.mac, on: str = "eth0", address: str = "10.1.30.12/24"
) -> dict[str, Any]:
    made = {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": tag}}
    return nic(3, "vlan30", mac, address, link=on, linkinfo=made)


ETH0 = nic(2, "eth0", TRUNK.mac)


def facts(
    files: Mapping[str, str],
    *links: Mapping[str, Any],
    by: Mapping[str, str] | None = None,
    up: tuple[str, ...] = (),
    defined: str = "",
) -> Facts:
    """Return what a guest answers: of systemd-networkd if ``by``, the files in force by device, is given."""
    routes = [DEFAULT] if any(each["ifname"] == "vlan30" for each in links) else []
    found = {
        "nm": Captured("", 1, "Call failed: The name is not known"),
        "link": Captured(json.dumps(links), 0),
        "route4": Captured(json.dumps(routes), 0),
    }
    lines = "".join(f"{path}:{line}\n" for path, text in files.items() for line in text.splitlines())
    if by is None:
        found["ifupdown-files"] = Captured(lines, 0)
        found["ifupdown-up"] = Captured("".join(f"{name}={name}\n" for name in up), 0)
        return Facts({}, found, frozenset({"ifupdown"}))
    said = (
        f"/run/systemd/netif/links/{each['ifindex']}:{line}\n"
        for each in links
        for line in ("ADMIN_STATE=configured", f"NETWORK_FILE={by.get(each['ifname'], '')}")
    )
    found["networkd-links"] = Captured("".join(said), 0)
    found["networkd-modes"] = Captured("".join(f"644 root {path}\n" for path in files), 0)
    found["networkd-files"] = Captured(lines, 0)
    found["netplan-vlans"] = Captured(defined, 0)
    return Facts(dict(files), found, frozenset({"networkd-runs"}))


FORMER = {"eth0": "/etc/systemd/network/10-cloud-init-eth0.network"}
BY_NETPLAN = {"eth0": f"{MADE_BY_NETPLAN}eth0.network"}
OWN = {"eth0": f"{NETWORK}trunk.network", "vlan30": f"{NETWORK}voice.network"}
OWN_NETPLAN = {
    "eth0": f"{MADE_BY_NETPLAN}05-labrun-trunk.network",
    "vlan30": f"{MADE_BY_NETPLAN}vlan30.network",
}
CLOUD_STANZA = {f"{IFUPDOWN.removesuffix('labrun-')}50-cloud-init": "iface eth0 inet manual\n"}


def before(family: str, *links: Mapping[str, Any], defined: str = "") -> Facts:
    """Return a guest of this family that cloud-init has set, with these devices beside eth0."""
    if family == "ifupdown":
        return facts({**MAIN, **CLOUD_STANZA}, ETH0, *links, up=("eth0",))
    by = BY_NETPLAN if family == "netplan" else FORMER
    return facts({}, ETH0, *links, by=by, defined=defined)


def after(family: str, written: Mapping[str, str], *links: Mapping[str, Any], defined: str = "") -> Facts:
    """Return the same guest by the files that labrun has written."""
    if family == "ifupdown":
        return facts({**MAIN, **written}, ETH0, *links, up=("eth0", "vlan30"))
    return facts(written, ETH0, *links, by=OWN_NETPLAN if family == "netplan" else OWN, defined=defined)


def planned(found: Facts, want: Mapping[str, Any] = WANT) -> tuple[SectionPlan, dict[str, Item]]:
    plan = Nmcli().plan(dict(want), found)
    return plan, {item.name: item for item in plan.items}


def written(plan: SectionPlan) -> dict[str, str]:
    """Return the files that a plan has a person write, which are those that it writes itself."""
    heads = r"install -D -m \d+ /dev/stdin (\S+) <<'EOF'\n(.*?)^EOF$"
    return dict(re.findall(heads, "\n".join(plan.commands), re.DOTALL | re.MULTILINE))


FAMILIES = ("systemd-networkd", "netplan", "ifupdown")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vlan_is_made_and_then_there_is_nothing_to_do(family: str) -> None:
    found = before(family)
    assert family_of(WANT, found).name == family
    plan, items = planned(found)
    # In the order of the lab file, though the NIC below comes first.
    assert [(name, item.state) for name, item in items.items()] == [("trunk", "change"), ("voice", "change")]
    assert f"+vlan30: VLAN 30 on eth0, MAC {VOICE.mac}" in (items["voice"].diff or "")
    assert MAKE in plan.apply
    assert plan.apply.index(MAKE) < plan.apply.index("bring eth0 ") < plan.apply.index("bring vlan30 ")
    # A rollback has nothing to bring back there.
    assert "vlan_gone vlan30 || :" in plan.undo
    assert "back vlan30" not in plan.undo
    assert "bring vlan30" not in plan.undo
    made = f"ip link add link eth0 name vlan30 address {VOICE.mac} type vlan id 30"
    assert made in plan.commands
    plan, items = planned(after(family, written(plan), vlan()))
    assert [(item.state, item.diff) for item in items.values()] == [("ok", None), ("ok", None)]
    assert (plan.apply, plan.undo) == ("", "")


def test_the_files_of_systemd_networkd() -> None:
    files = written(planned(before("systemd-networkd"))[0])
    assert files[f"{NETWORK}voice.netdev"] == (
        f"[NetDev]\nName=vlan30\nKind=vlan\nMACAddress={VOICE.mac}\n\n[VLAN]\nId=30\n"
    )
    assert files[f"{NETWORK}voice.network"].startswith("[Match]\nName=vlan30\n\n[Network]\nDHCP=no\n")
    assert "IPv6AcceptRA=no\nVLAN=vlan30\n" in files[f"{NETWORK}trunk.network"]


def test_the_files_of_netplan() -> None:
    files = written(planned(before("netplan"))[0])
    definition = yaml.safe_load(files[f"{NETPLAN}voice.yaml"])["network"]["vlans"]["vlan30"]
    wanted = {"renderer": "networkd", "id": 30, "link": "05-labrun-trunk", "macaddress": VOICE.mac}
    assert definition.items() >= {**wanted, "addresses": ["10.1.30.12/24"]}.items()
    assert list(yaml.safe_load(files[f"{NETPLAN}trunk.yaml"])["network"]["ethernets"]) == ["05-labrun-trunk"]


def test_the_stanzas_of_ifupdown() -> None:
    files = written(planned(before("ifupdown"))[0])
    assert files[f"{IFUPDOWN}voice"].startswith(
        "auto vlan30\niface vlan30 inet static\n    address 10.1.30.12/24\n"
        "    pre-up ip link set dev eth0 up\n"
        "    pre-up [ -e /sys/class/net/$IFACE ] ||"
        f" ip link add link eth0 name $IFACE address {VOICE.mac} type vlan id 30\n"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("there", "apply", "undo"),
    [
        (
            vlan(mac=TRUNK.mac),
            f"ip link set dev vlan30 address {VOICE.mac} || bad=1\n",
            f"ip link set dev vlan30 address {TRUNK.mac} || bad=1\n",
        ),
        (
            vlan(tag=31),
            f"vlan_gone vlan30 || :\n{MAKE}\n",
            f"vlan_make voice vlan30 eth0 31 {VOICE.mac} || bad=1\n",
        ),
        (
            vlan(on="eth1"),
            f"vlan_gone vlan30 || :\n{MAKE}\n",
            f"vlan_make voice vlan30 eth1 30 {VOICE.mac} || bad=1\n",
        ),
    ],
    ids=["MAC", "tag", "NIC below"],
)
def test_a_device_that_is_another_is_mended_and_the_way_back_is_that_one(
    family: str, there: Mapping[str, Any], apply: str, undo: str
) -> None:
    files = written(planned(before(family))[0])
    plan, items = planned(after(family, files, there))
    assert [item.state for item in items.values()] == ["ok", "change"]
    assert (items["voice"].diff or "").startswith("-vlan30: VLAN ")
    assert apply in plan.apply
    assert undo in plan.undo


@pytest.mark.parametrize("family", FAMILIES)
def test_one_that_was_deleted_by_hand_is_made_again(family: str) -> None:
    files = written(planned(before(family))[0])
    plan, items = planned(after(family, files))
    assert [item.state for item in items.values()] == ["ok", "change"]
    assert MAKE in plan.apply
    assert (plan.saves, "bring vlan30" in plan.apply) == ((), True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vlan_that_the_lab_no_longer_has_goes_and_comes_back_if_that_is_undone(family: str) -> None:
    files = written(planned(before(family))[0])
    less = {**WANT, "profiles": WANT["profiles"][:1]}
    plan, items = planned(after(family, files, vlan()), less)
    assert items["voice"].state == "change"
    assert "vlan_gone vlan30 || :" in plan.apply
    assert f"vlan_make '' vlan30 eth0 30 {VOICE.mac} || bad=1" in plan.undo
    assert ("back vlan30" in plan.undo) or ("bring vlan30" in plan.undo)
    assert {path for path in files if "voice" in path} <= set(plan.saves)
    assert "ip link del dev vlan30" in plan.commands


@pytest.mark.parametrize("family", FAMILIES)
def test_another_tag_in_the_lab_file_takes_the_former_device_away(family: str) -> None:
    files = written(planned(before(family))[0])
    voice = WANT["profiles"][1]
    settings = {**voice["settings"], "vlan": {"id": "40"}}
    settings["connection"] = {**settings["connection"], "interface-name": "vlan40"}
    other = {**WANT, "profiles": [WANT["profiles"][0], {**voice, "device": "vlan40", "settings": settings}]}
    plan, _ = planned(after(family, files, vlan()), other)
    assert "vlan_gone vlan30 || :" in plan.apply
    assert f"vlan_make voice vlan40 eth0 40 {VOICE.mac} || bad=1" in plan.apply


@pytest.mark.parametrize("family", FAMILIES)
def test_something_else_under_the_name_is_refused(family: str) -> None:
    taken = nic(3, "vlan30", VOICE.mac, linkinfo={"info_kind": "dummy"})
    plan, items = planned(before(family, taken))
    assert (items["voice"].state, items["voice"].why) == (
        "refused",
        "vlan30 is another device here, and the VLAN needs that name",
    )
    assert "vlan_" not in plan.apply


def test_netplan_merges_definitions_of_one_name_so_cloud_inits_is_taken_out() -> None:
    defined = '/etc/netplan/50-cloud-init.yaml:        vlan30:\n/etc/netplan/50-cloud-init.yaml:   "vlan3":\n'
    plan, items = planned(before("netplan", vlan(mac=TRUNK.mac), defined=defined))
    assert "-/etc/netplan/50-cloud-init.yaml: vlan30\n" in (items["voice"].diff or "")
    assert "netplan set --origin-hint=50-cloud-init network.vlans.vlan30=NULL || bad=1\n" in plan.apply
    assert "/etc/netplan/50-cloud-init.yaml" in plan.saves
    own = f"{NETPLAN}voice.yaml:      vlan30:\n"
    again, items = planned(after("netplan", written(plan), vlan(), defined=own))
    assert ([item.state for item in items.values()], again.apply) == (["ok", "ok"], "")
    _, items = planned(before("netplan", defined="/etc/netplan/60-mine.yaml:    vlan30:\n"))
    assert items["voice"].why == "/etc/netplan/60-mine.yaml defines vlan30 too: remove it there"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vlan_on_a_nic_that_cannot_be_set_is_refused_with_it(family: str) -> None:
    first, second = WANT["profiles"]
    want = {**WANT, "profiles": [second, {**first, "properties": {"ipv4.dns-search": "x"}}]}
    _, items = planned(before(family), want)
    assert list(items) == ["voice", "trunk"]
    assert items["trunk"].state == "refused"
    assert items["voice"].why == "eth0, which carries vlan30, cannot be set"
