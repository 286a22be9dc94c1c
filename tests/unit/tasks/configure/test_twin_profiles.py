"""The profiles of NICs on one network: one each, the first one's routes preferred, nothing else different."""

from __future__ import annotations

import pytest

from labrun.inventory.model import Lab
from labrun.tasks.configure.hosts_file import lab_names
from labrun.tasks.configure.nm_profiles import desired_profiles, profile_path
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.sshd_profiles import profile_of
from labrun.tasks.guest.keyfile import intent
from tests.unit.twin_lab import TWINS, lab_of, twins


def sections(lab: Lab, host: str, nic: str) -> dict[str, dict[str, str]]:
    (found,) = (each for each in desired_profiles(lab, lab.hosts[host]) if each["network"] == nic)
    return {name: dict(settings) for name, settings in found["settings"].items()}


def test_each_nic_has_a_profile_of_its_own() -> None:
    lab = twins()
    want = Nmcli().desired(lab, lab.hosts["h"])
    assert want is not None
    assert Nmcli().names(want) == ("left", "left2", "left3")
    found = [sections(lab, "h", nic) for nic in ("left", "left2", "left3")]
    assert [each["connection"]["id"] for each in found] == ["labrun-left", "labrun-left2", "labrun-left3"]
    assert len({each["connection"]["uuid"] for each in found}) == 3
    assert [each["ethernet"]["mac-address"] for each in found] == [
        nic.mac for nic in lab.hosts["h"].interfaces
    ]
    assert {each["ethernet"]["mtu"] for each in found} == {"1400"}
    assert profile_path("left2").endswith("/labrun-left2.nmconnection")


def test_what_is_sent_leaves_by_the_first() -> None:
    lab = twins()
    first, second, third = (sections(lab, "h", nic) for nic in ("left", "left2", "left3"))
    assert first["ipv4"]["gateway"] == "10.0.0.2"
    assert "route-metric" not in first["ipv4"].keys() | first["ipv6"].keys()
    assert second["ipv4"].items() >= {"address1": "10.0.0.12/24", "never-default": "true"}.items()
    assert [each[name]["route-metric"] for each in (second, third) for name in ("ipv4", "ipv6")] == [
        *("200", "200"),
        *("300", "300"),
    ]
    assert intent(second, 4).metric == 200


def test_a_second_dhcp_nic_takes_no_default_route() -> None:
    text = TWINS.replace("left: {cidr", "left: {mode: nat, cidr").replace(
        'left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}', "left: dhcp"
    )
    lab = lab_of(text.replace("  h:\n", "  h:\n    gateway: 10.0.0.1\n"))
    assert "never-default" not in sections(lab, "h", "left")["ipv4"]
    assert sections(lab, "h", "left3")["ipv4"] == {
        "method": "auto",
        "never-default": "true",
        "route-metric": "300",
    }


def test_what_a_nic_is_called_changes_nothing_but_its_names() -> None:
    renamed = lab_of(
        TWINS.replace(
            "w: {networks: {left: 10.0.0.13}}", "w: {networks: {up: {network: left, ipv4: 10.0.0.13}}}"
        )
    )
    before, after = sections(twins(), "w", "left"), sections(renamed, "w", "up")
    for each in (before, after):
        del each["connection"]
        del each["ethernet"]["mac-address"]
    assert after == before


@pytest.mark.parametrize(("source", "at"), [("w", "10.0.0.11"), ("x", "10.0.0.11")])
def test_the_hosts_file_has_the_first_address(source: str, at: str) -> None:
    lab = twins()
    found = (str(address) for address, names in lab_names(lab, lab.hosts[source]) if "h" in names)
    assert next(found) == at


def test_two_nics_on_one_network_make_no_bastion() -> None:
    lab = twins()
    assert profile_of(lab, lab.hosts["h"]) == "host"
