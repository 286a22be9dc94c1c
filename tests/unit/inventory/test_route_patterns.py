"""Routes that the lab file leaves alone: what a pattern fits, and what none is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from labrun.inventory.route_patterns import route_pattern


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("proto bird", True),
        ("proto 12", True),
        ("proto ospf", False),
        ("dev eth0", True),
        ("dev eth1", False),
        ("via 10.0.0.9", True),
        ("via 10.0.0.8", False),
        ("type unicast", True),
        ("type blackhole", False),
        ("to 10.8.0.0/14", True),
        ("to 10.9.0.0/16", True),
        ("to 10.9.1.0/24", False),
        ("to fd00::/8", False),
        ("proto bird dev eth0", True),
        ("proto bird dev eth1", False),
    ],
)
def test_all_of_a_pattern_has_to_fit(pattern: str, *, fits: bool) -> None:
    found = route_pattern(pattern)
    prefix = ip_network("10.9.0.0/16")
    assert found.fits(prefix, via="10.0.0.9", dev="eth0", kind="unicast", proto="bird") is fits
    assert route_pattern(str(found)) == found


def test_a_route_without_a_protocol_is_one_of_boot() -> None:
    prefix = ip_network("10.9.0.0/16")
    assert route_pattern("proto boot").fits(prefix, via="", dev="", kind="unicast", proto="")
    assert not route_pattern("proto static").fits(prefix, via="", dev="", kind="unicast", proto="")


@pytest.mark.parametrize(
    "text", ["", "bird", "proto", "proto bird proto ospf", "via nowhere", "to 10.0.0.300/8", "type odd"]
)
def test_other_words_name_no_routes(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
        route_pattern(text)
