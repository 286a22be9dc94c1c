"""What reading and judging a host costs does not grow with the number of hosts, counted in function calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.plugin import inventory_of
from labrun.inventory.model import Host, Lab
from labrun.inventory.topology import targets
from labrun.inventory.topology.jump_hosts import jumps
from labrun.runner.commands.verify.offline import offline_rows, offline_text
from labrun.tasks.collect.capture import Unreachable
from labrun.tasks.collect.judge import judge
from labrun.tasks.collect.schedule import collect_spec
from labrun.tasks.configure.resources import host_spec
from labrun.tasks.drift.judge import Seen, drift_rows
from tests.unit.small_labs import host, lab, network

_FEW, _MANY = 40, 160
_WHOLE = 32
"""Both are large labs here: thousands of hosts would grow in the same way and take minutes to count."""
_ON_ONE = 20
_SILENT = Unreachable("silent")


def fleet(hosts: int) -> Lab:
    """Existing machines on no network of the file: only their settings are of interest."""
    members = [replace(host(f"h{i}", {}), address=f"192.0.2.{i}", hosts_file=False) for i in range(hosts)]
    return lab([], members)


def campus(hosts: int) -> Lab:
    """Existing machines on networks of twenty."""
    nets = [network(f"n{i}", f"10.0.{i}.0/24") for i in range(-(-hosts // _ON_ONE))]
    return lab(nets, [_member(i) for i in range(hosts)])


def _member(number: int) -> Host:
    net, place = divmod(number, _ON_ONE)
    member = host(f"h{number}", {f"n{net}": f"10.0.{net}.{11 + place}/24"})
    return replace(member, address=f"10.0.{net}.{11 + place}", hosts_file=False)


def calls_of(work: Callable[[Lab], object], of: Lab) -> int:
    """Return how many functions are called, Python's own ones as well."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work(of)
    finally:
        sys.setprofile(before)
    return count


def silent(of: Lab) -> Mapping[str, Any]:
    return dict.fromkeys(of.hosts, _SILENT)


def verify_specs(of: Lab) -> object:
    return [collect_spec(of, name) for name in of.hosts]


def verify_rows(of: Lab) -> object:
    return judge(of, silent(of), tuple(of.hosts))


def drift_all(of: Lab) -> object:
    specs = {name: host_spec(of, name) for name in of.hosts}
    return drift_rows(of, Seen(specs, silent(of), None), tuple(of.hosts))


def offline(of: Lab) -> object:
    return offline_text(offline_rows(of))


def where(of: Lab) -> object:
    return jumps(of), inventory_of(of, locate(of, None), None)


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "WHOLE", _WHOLE)


WORK = (verify_specs, verify_rows, drift_all, offline, where)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_a_host_of_a_fleet_costs_the_same_among_four_times_as_many(work: Callable[[Lab], object]) -> None:
    few, many = calls_of(work, fleet(_FEW)) / _FEW, calls_of(work, fleet(_MANY)) / _MANY
    assert many <= few * 1.15, f"{few:.0f} calls for each of {_FEW} hosts, {many:.0f} of {_MANY}"


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_on_networks_it_costs_little_more(work: Callable[[Lab], object]) -> None:
    few, many = calls_of(work, campus(_FEW)) / _FEW, calls_of(work, campus(_MANY)) / _MANY
    # It tries eight others in place of six.
    assert many <= few * 1.35, f"{few:.0f} calls for each of {_FEW} hosts, {many:.0f} of {_MANY}"
