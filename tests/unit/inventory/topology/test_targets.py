"""Which pairs of hosts are tried, in small labs and in large ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from labrun.inventory.check_model import Check
from labrun.inventory.model import Lab
from labrun.inventory.topology.targets import WHOLE, concerned, is_large, targets_of
from tests.unit.small_labs import host, lab, network

_FAR = 512
"""A power of two: then the last step leads exactly half around."""


def row_of(hosts: int) -> Lab:
    """One network with this many hosts."""
    members = [host(f"h{i}", {"n": f"10.0.{1 + i // 200}.{1 + i % 200}/16"}) for i in range(hosts)]
    return lab([network("n", "10.0.0.0/16")], members)


def test_a_small_lab_has_every_pair() -> None:
    of = row_of(WHOLE)
    assert not is_large(of)
    assert targets_of(of, "h1") == ("h0", *(f"h{i}" for i in range(2, WHOLE)))


def test_a_large_lab_has_hosts_near_and_far_in_file_order() -> None:
    of = row_of(_FAR)
    assert is_large(of)
    assert targets_of(of, "h0") == tuple(f"h{step}" for step in (1, 2, 4, 8, 16, 32, 64, 128, 256))
    assert targets_of(of, "h511") == tuple(f"h{step}" for step in (0, 1, 3, 7, 15, 31, 63, 127, 255))


def test_a_large_lab_has_every_pair_on_request() -> None:
    assert len(targets_of(row_of(_FAR), "h9", full=True)) == _FAR - 1


def test_each_host_is_tried_as_often_as_it_tries() -> None:
    of = row_of(WHOLE + 44)
    tried = Counter(target for source in of.hosts for target in targets_of(of, source))
    assert set(tried.values()) == {len(targets_of(of, "h0"))}
    assert set(tried) == set(of.hosts)


def test_from_any_host_a_chain_of_tried_pairs_leads_to_any_other() -> None:
    of = row_of(WHOLE + 1)
    met, new = {"h7"}, {"h7"}
    while new:
        new = {target for source in new for target in targets_of(of, source)} - met
        met |= new
    assert met == set(of.hosts)


def test_targets_of_declared_traces_are_tried_as_well() -> None:
    of = replace(row_of(_FAR), checks=(Check("way", "h0", "h300", "trace", "", "open"),))
    assert "h300" in targets_of(of, "h0")
    assert "h300" not in targets_of(replace(of, checks=()), "h0")


def test_hosts_without_an_address_are_left_out() -> None:
    of = row_of(_FAR)
    bare = {name: replace(each, interfaces=()) for name, each in of.hosts.items() if int(name[1:]) % 2}
    thinned = replace(of, hosts={**of.hosts, **bare})
    assert targets_of(thinned, "h1") == ()
    assert targets_of(thinned, "h0") == tuple(f"h{2 * step}" for step in (1, 2, 4, 8, 16, 32, 64, 128))


def test_a_large_lab_of_hosts_without_addresses_has_no_pairs() -> None:
    of = lab([], [host(f"h{i}", {}) for i in range(_FAR)])
    assert [targets_of(of, name) for name in of.hosts] == [()] * _FAR


def test_an_unknown_host_is_an_error_on_request_of_all_as_well() -> None:
    of = row_of(_FAR)
    for full in (False, True):
        with pytest.raises(KeyError):
            targets_of(of, "nobody", full=full)


def test_in_a_small_lab_everybody_is_read_for_one_host() -> None:
    of = row_of(WHOLE)
    assert concerned(of, ["h3"]) == frozenset(of.hosts)


def test_in_a_large_lab_those_are_read_that_its_paths_lead_to_and_through() -> None:
    nets = [network(f"n{i}", f"10.{i}.0.0/16") for i in range(3)]
    routers = [
        host("r0", {"n0": "10.0.9.1/16", "n1": "10.1.9.1/16"}, "router"),
        host("r1", {"n1": "10.1.9.2/16", "n2": "10.2.9.2/16"}, "router"),
    ]
    ends = [host(f"h{i}", {f"n{2 * (i > 99)}": f"10.{2 * (i > 99)}.1.{1 + i % 100}/16"}) for i in range(200)]
    alone = [host(f"x{i}", {}) for i in range(WHOLE)]
    of = lab(nets, [*routers, *ends, *alone])
    near = {f"h{place}" for place in (98, 99, 101, 105, 113, 129, 161, 23)}
    assert set(targets_of(of, "h97")) == near
    assert concerned(of, ["h97"]) == {"h97", "r0", "r1", *near}
    assert concerned(of, ["x1"]) == {"x1"}
    assert concerned(of, tuple(of.hosts)) == frozenset(of.hosts)
    assert concerned(of, ["h97"], full=True) == {name for name, each in of.hosts.items() if each.interfaces}
