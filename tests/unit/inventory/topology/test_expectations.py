"""Expectations as one value: addresses, routes and paths of a lab, also of a large one."""

from __future__ import annotations

import time

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.expectations import expectations
from tests.unit.small_labs import host, lab, network, two_networks


def test_addresses_are_by_host_and_network() -> None:
    found = expectations(two_networks()).addresses
    assert [str(each) for each in found["host00"]["network2"]] == ["172.17.0.254/24"]
    assert [str(each) for each in found["host04"]["network2"]] == ["172.17.0.177/24"]
    assert list(found["host00"]) == ["network1", "network2"]


def test_an_address_that_only_another_dhcp_server_knows_is_empty() -> None:
    of = lab([network("office", None, "bridge")], [host("a", {"office": "dhcp"})])
    assert expectations(of).addresses["a"]["office"] == ()


def test_every_ordered_pair_has_its_path() -> None:
    found = expectations(two_networks())
    pairs = list(found.pairs())
    assert len(pairs) == len(set(pairs)) == 20
    assert [(path.source, path.target) for path in found.paths()] == pairs
    assert all(path.fault is None for path in found.paths())


def test_a_pair_with_both_ip_versions_has_a_path_in_each() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", cidr6="fd00:1::/64")],
        [
            host("a", {"n1": "10.0.1.5/24 fd00:1::5/64"}),
            host("b", {"n1": "10.0.1.6/24 fd00:1::6/64"}),
            host("c", {"n1": "10.0.1.7/24"}),
            host("d", {"n1": "fd00:1::8/64"}),
        ],
    )
    found = [(path.source, path.target, str(path.address)) for path in expectations(of).paths()]
    assert [each for each in found if each[0] == "a"] == [
        ("a", "b", "10.0.1.6"),
        ("a", "b", "fd00:1::6"),
        ("a", "c", "10.0.1.7"),
        ("a", "d", "fd00:1::8"),
    ]
    assert expectations(of).versions("c", "d") == (4,)


def test_unknown_names_are_key_errors() -> None:
    found = expectations(two_networks())
    with pytest.raises(KeyError, match="host99"):
        found.routes("host99")
    with pytest.raises(KeyError, match="host99"):
        found.path("host01", "host99")


def large(shape: str) -> Lab:
    """Make 100 networks, 100 routers in four rows or around one network, and 900 hosts."""
    networks = [network(f"n{i}", f"10.1.{i}.0/24") for i in range(100)]
    hosts = []
    for i in range(100):
        other = 0 if shape == "star" or i % 25 == 24 else i + 1
        nics = {f"n{i}": f"10.1.{i}.251/24"}
        if other != i:
            nics[f"n{other}"] = f"10.1.{other}.{i + 1}/24"
        hosts.append(host(f"r{i}", nics, "router"))
    hosts += [host(f"h{i}", {f"n{i % 100}": f"10.1.{i % 100}.{110 + i // 100}/24"}) for i in range(900)]
    return lab(networks, hosts)


@pytest.mark.parametrize("shape", ["rows", "star"])
def test_a_thousand_hosts_take_seconds_not_minutes(shape: str) -> None:
    of = large(shape)
    begun = time.process_time()
    found = expectations(of)
    routes = sum(len(found.routes(name)) for name in of.hosts)
    pairs = ((source, f"h{place}") for place in range(0, 900, 30) for source in of.hosts)
    paths = [found.path(source, target) for source, target in pairs if source != target]
    assert routes >= 100 * 100
    assert len(paths) == 30 * 999
    assert all(path.fault is None for path in paths)
    assert time.process_time() - begun < 4
