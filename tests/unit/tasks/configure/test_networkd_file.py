"""The network file that says what a NetworkManager profile says."""

from __future__ import annotations

from labrun.tasks.configure.networkd_file import file_path, file_text
from labrun.tasks.guest.keyfile import Sections

MAC = "02:00:00:00:00:01"
PLAIN: Sections = {
    "connection": {"id": "labrun-left", "uuid": "x", "type": "ethernet"},
    "ethernet": {"mac-address": MAC, "mtu": "1400"},
    "ipv4": {
        "method": "manual",
        "address1": "10.0.0.11/24",
        "route1": "10.1.0.0/24,10.0.0.254",
        "gateway": "10.0.0.1",
        "dns": "10.0.0.1;",
        "dns-search": "lab.test;",
    },
    "ipv6": {"method": "link-local"},
}


def test_the_file_of_a_nic_comes_before_what_cloud_init_and_netplan_write() -> None:
    assert file_path("left") == "/etc/systemd/network/05-labrun-left.network"


def test_a_fixed_address_with_everything_around_it() -> None:
    assert (
        file_text(PLAIN, MAC, 100)
        == f"""\
[Match]
MACAddress={MAC}
Type=ether

[Link]
MTUBytes=1400

[Network]
DHCP=no
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
DNS=10.0.0.1
Domains=lab.test

[Address]
Address=10.0.0.11/24
RouteMetric=100

[Route]
Gateway=10.0.0.1
Metric=100

[Route]
Destination=10.1.0.0/24
Gateway=10.0.0.254
Metric=100
"""
    )


def test_metrics_that_the_lab_file_gives_count_in_place_of_the_usual_ones() -> None:
    ipv4 = {"method": "manual", "address1": "10.0.0.11/24", "route-metric": "200"}
    ipv4["route1"] = "10.1.0.0/24,10.0.0.254,7"
    text = file_text({"ipv4": ipv4, "ipv6": {"method": "disabled"}}, MAC, 101)
    assert "Address=10.0.0.11/24\nRouteMetric=200\n" in text
    assert "Destination=10.1.0.0/24\nGateway=10.0.0.254\nMetric=7\n" in text
    assert "LinkLocalAddressing=no\n" in text


def test_leases_and_advertisements_without_the_default_that_is_not_wanted() -> None:
    text = file_text(
        {
            "ipv4": {"method": "auto", "never-default": "true", "route1": "10.9.0.0/16,10.0.0.254"},
            "ipv6": {"method": "auto", "ignore-auto-routes": "true", "route1": "fd00::/64"},
        },
        MAC,
        100,
    )
    assert "DHCP=ipv4\n" in text
    assert "IPv6AcceptRA=yes\nIPv6PrivacyExtensions=no\n" in text
    assert "[DHCPv4]\nRouteMetric=100\nRoutesToDNS=no\nUseGateway=no\n" in text
    wanted = "[IPv6AcceptRA]\nRouteMetric=100\nUseGateway=no\nUseRoutePrefix=no\nUseOnLinkPrefix=no\n"
    assert wanted in text
    assert "[Route]\nDestination=10.9.0.0/16\nGateway=10.0.0.254\nMetric=100\n" in text
    assert "[Route]\nDestination=fd00::/64\nMetric=100\n" in text


def test_routes_that_are_announced_and_wanted_are_taken() -> None:
    text = file_text({"ipv4": {"method": "auto"}, "ipv6": {"method": "auto"}}, MAC, 100)
    assert "UseGateway" not in text
    assert "UseRoutes" not in text
