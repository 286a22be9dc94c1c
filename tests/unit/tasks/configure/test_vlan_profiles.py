"""The profile of a VLAN makes its device on the NIC below it, which is found by its MAC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network

import pytest

from labrun.tasks.configure.nic_forwarding import NicForwarding
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_commands import explain_profile
from labrun.tasks.configure.nm_nic import PlannedNic
from labrun.tasks.configure.nm_profiles import desired_profiles, profile_path
from labrun.tasks.configure.nm_script import Work, apply_script
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.nm import Device, NmState
from labrun.tasks.guest.keyfile import Hop, properties, render
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item
from tests.unit.vlan_lab import vlans

LAB = vlans()
PHONE = LAB.hosts["phone"]
TRUNK, VOICE = PHONE.interfaces
RAW = next(each for each in desired_profiles(LAB, PHONE) if each["network"] == "voice")
BELOW = Device("/nic/1", "eth0", TRUNK.mac, 100, "u-trunk", "labrun-trunk", "", ())
PATH = profile_path("voice")
UP = Nic(
    1500,
    frozenset({ip_interface("10.1.30.12/24")}),
    frozenset({ip_interface("10.1.30.12/24")}),
    {Hop(ip_network("0.0.0.0/0"), ip_interface("10.1.30.1/24").ip): "static"},
)


def planned(
    files: Mapping[str, str],
    devices: Mapping[str, Device],
    vlans: Mapping[str, Device],
    nics: Mapping[str, Nic],
) -> tuple[Item, Work]:
    facts = Facts(dict(files))
    work = Work()
    state = NmState(devices, nics, frozenset(files), vlans=vlans)
    PlannedNic(Profile.of(RAW, facts), facts, state, {}).plan(work)
    (item,) = work.items
    return item, work


def test_the_profile_has_a_mac_of_its_own_and_that_of_the_nic_below() -> None:
    settings = RAW["settings"]
    assert settings["connection"].items() >= {"type": "vlan", "interface-name": "vlan30"}.items()
    assert settings["ethernet"] == {"mac-address": TRUNK.mac, "cloned-mac-address": VOICE.mac}
    assert settings["vlan"] == {"id": "30"}
    assert settings["ipv4"]["gateway"] == "10.1.30.1"


def test_a_device_that_is_not_there_yet_is_made_and_then_there_is_nothing_to_do() -> None:
    item, work = planned({}, {TRUNK.mac: BELOW}, {}, {})
    assert item.state == "change"
    assert work.write.keys() == {PATH}
    assert [(each[0], each[2]) for each in work.bring] == [("vlan30", "")]
    # There is no state that a rollback could bring back: without its profile the device is gone.
    assert work.was == []
    assert 'if [ -e "/sys/class/net/$1" ]; then activate uuid "$2" ifname "$1"' in apply_script(work)
    uuid = RAW["settings"]["connection"]["uuid"]
    made = Device("/nic/9", "vlan30", VOICE.mac, 100, uuid, "labrun-voice", PATH, ())
    item, work = planned(work.write, {TRUNK.mac: BELOW}, {"vlan30": made}, {"vlan30": UP})
    assert (item.state, item.diff, work.write, work.bring) == ("ok", None, {}, [])


def test_one_that_networkmanager_only_keeps_in_mind_is_made() -> None:
    kept = Device("/nic/9", "vlan30", "", 10, None, "", "", ())
    item, work = planned({}, {TRUNK.mac: BELOW}, {"vlan30": kept}, {})
    assert (item.state, item.refused, [each[0] for each in work.bring]) == ("change", None, ["vlan30"])


def test_a_profile_made_by_nmcli_is_no_other() -> None:
    """It writes the kernel's own choice of flags."""
    settings = RAW["settings"]
    flagged = {**settings, "vlan": {**settings["vlan"], "flags": "1"}}
    assert properties(flagged) == properties(settings)
    assert properties({**flagged, "vlan": {"id": "30", "flags": "3"}}) != properties(settings)


def test_one_that_cloud_init_made_is_taken_over() -> None:
    path = PATH.replace("labrun-voice", "cloud-init-vlan30")
    files = {path: "[connection]\ntype=vlan\ninterface-name=vlan30\nuuid=u-cloud\n\n[vlan]\nid=30\n"}
    made = Device("/nic/9", "vlan30", TRUNK.mac, 100, "u-cloud", "cloud-init vlan30", path, ())
    item, work = planned(files, {TRUNK.mac: BELOW}, {"vlan30": made}, {"vlan30": UP})
    assert (item.state, work.remove) == ("change", [path])
    # It has the MAC of the NIC below it until it is made anew.
    assert f"+vlan30: MAC {VOICE.mac}" in (item.diff or "")
    assert [each[2] for each in work.bring] == [""]
    assert "uuid=u-cloud" in work.write[PATH]


def test_the_nic_below_has_to_be_there() -> None:
    item, _ = planned({}, {}, {}, {})
    assert (item.refused or "").startswith(f"no NIC here has the MAC {TRUNK.mac}: ")


def test_what_is_typed_makes_the_same_profile() -> None:
    add, up = explain_profile(RAW)
    assert add.startswith(
        "nmcli connection add type vlan ifname vlan30 dev lo con-name labrun-voice vlan.id 30"
    )
    assert f"802-3-ethernet.mac-address {TRUNK.mac}" in add
    assert "vlan.parent ''" in add
    assert up == "nmcli connection up labrun-voice"
    assert "vlan" in render(RAW["settings"])


@pytest.mark.parametrize(("mac", "off"), [(VOICE.mac, ("vlan30",)), (TRUNK.mac, ())])
def test_a_router_s_vlan_forwards_like_its_nics(mac: str, off: tuple[str, ...]) -> None:
    """A VLAN with the MAC of the NIC below it is somebody else's."""
    below = {"ifname": "eth0", "link_type": "ether", "address": TRUNK.mac, "mtu": 1500}
    above = {**below, "ifname": "vlan30", "link": "eth0", "address": mac, "linkinfo": {"info_kind": "vlan"}}
    links = json.dumps([below, above])
    off_file = "/proc/sys/net/ipv4/conf/vlan30/forwarding"
    found = NicForwarding.of([TRUNK.mac, VOICE.mac], (), _facts(links, {off_file: "0\n"}), {})
    assert found.off == off


def _facts(links: str, files: dict[str, str]) -> Facts:
    return Facts(files, {"link": Captured(links, 0)})
