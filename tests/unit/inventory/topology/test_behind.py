"""Which hosts are reached through one of them, as a function of the lab and of the kernel's routes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.inventory.hosts.locate import locate
from labrun.inventory.model import Lab
from labrun.inventory.topology.behind import Lead, behind, carries_others
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.wiring import Version, wiring
from labrun.runner.commands.configure import carried_by
from labrun.state import LabState
from tests.kernel.generated_labs import KINDS, generated
from tests.unit.small_labs import dual_stack, host, lab, network

VERSIONS: tuple[Version, ...] = (4, 6)
FOREIGN = "192.0.2.1"
US = "198.51.100.9"


def lead(address: str, via: str | None = None, source: str | None = US) -> Lead:
    return Lead(
        ip_address(address),
        ip_address(via) if via is not None else None,
        ip_address(source) if source is not None else None,
    )


def fleet() -> Lab:
    """Make a fleet: r1 leads to n2, r2 from n2 on to n3; `gate` on n1 is the way out of everything."""
    return lab(
        [network(f"n{number}", f"10.0.{number}.0/24", "bridge") for number in (1, 2, 3)],
        [
            host("gate", {"n1": "10.0.1.254/24"}, "router"),
            host("r1", {"n1": "10.0.1.2/24", "n2": "10.0.2.254/24"}, "router", gateway="gate"),
            host("r2", {"n2": "10.0.2.2/24", "n3": "10.0.3.254/24"}, "router", gateway="r1"),
            host("a", {"n1": "10.0.1.10/24"}, gateway="gate"),
            host("b", {"n2": "10.0.2.10/24"}, gateway="r1"),
            host("c", {"n3": "10.0.3.10/24"}, gateway="r2"),
        ],
    )


def all_by(of: Lab, via: str | None, source: str | None, *, on_link: str = "") -> dict[str, Lead]:
    """Return the leads of all hosts: by one router, but for those whose address begins like ``on_link``."""
    found = {}
    for name, each in of.hosts.items():
        address = str(each.interfaces[0].ipv4.ip) if each.interfaces[0].ipv4 else ""
        direct = bool(on_link) and address.startswith(on_link)
        found[name] = lead(address, None if direct else via, source)
    return found


ON_N1 = ("10.0.1.2", "10.0.1.99", "10.0.1.")
"""The controller is on n1, and its kernel sends what is farther to r1."""
OUTSIDE = (FOREIGN, US, "")
"""The controller is somewhere else, behind a router that the file does not know."""


@pytest.mark.parametrize(
    ("place", "who", "cut"),
    [
        (ON_N1, "r1", ("r2", "b", "c")),
        (ON_N1, "r2", ("c",)),
        (ON_N1, "gate", ()),
        (ON_N1, "a", ()),
        (ON_N1, "b", ()),
        # Whoever has the way out of a network carries all on it, and what lies beyond.
        (OUTSIDE, "gate", ("r1", "r2", "a", "b", "c")),
        (OUTSIDE, "r1", ("gate", "r2", "a", "b", "c")),
        (OUTSIDE, "r2", ("r1", "b", "c")),
        (OUTSIDE, "a", ()),
    ],
)
def test_who_is_behind_whom(place: tuple[str, str, str], who: str, cut: tuple[str, ...]) -> None:
    via, source, on_link = place
    assert behind(fleet(), who, all_by(fleet(), via, source, on_link=on_link)) == cut


def test_a_host_on_the_link_is_behind_nobody() -> None:
    of = fleet()
    direct = {name: lead(str(each.address)) for name, each in all_by(of, None, US).items()}
    assert {name: behind(of, name, direct) for name in of.hosts} == dict.fromkeys(of.hosts, ())


def test_the_way_back_counts_too() -> None:
    """Packets come in past `gate`; the answers of `a` leave by it."""
    of = fleet()
    assert behind(of, "gate", {"b": lead("10.0.2.10", "10.0.1.2", US)}) == ("b",)
    assert behind(of, "gate", {"b": lead("10.0.2.10", "10.0.1.2", "10.0.1.99")}) == ()


def test_a_host_of_which_nothing_is_known_is_not_asked() -> None:
    assert behind(fleet(), "r1", {}) == ()


def test_where_the_kernel_says_nothing_every_way_counts() -> None:
    of = fleet()
    dumb = {name: Lead(each.address, known=False) for name, each in all_by(of, None, None).items()}
    assert behind(of, "r1", dumb) == ("gate", "r2", "a", "b", "c")


def test_ipv6_has_ways_of_its_own() -> None:
    of = dual_stack()
    ways = {"host01": lead("fd00:16::11", None, "fd00:16::9"), "host03": lead("fd00:17::11", "fd00:16::fe")}
    assert behind(of, "host00", ways) == ("host03",)


def test_a_host_that_others_route_by_carries_them_without_being_a_router() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", "bridge"), network("n2", "10.0.2.0/24", "bridge")],
        [
            host("quiet", {"n1": "10.0.1.2/24", "n2": "10.0.2.2/24"}),
            host("b", {"n2": "10.0.2.10/24"}, routes={"10.0.1.0/24": "10.0.2.2"}),
        ],
    )
    assert carries_others(of, "quiet")
    assert not carries_others(of, "b")
    assert behind(of, "quiet", {"b": lead("10.0.2.10", "10.0.1.2", "10.0.1.9")}) == ("b",)


def test_an_address_that_only_the_kernel_knows_finds_its_way_too() -> None:
    """The file reaches `c` at an address that none of its NICs has there (a forward, an alias)."""
    ways = {"c": lead("203.0.113.7", "10.0.1.2", "10.0.1.99"), "r1": lead("10.0.1.2", None, "10.0.1.99")}
    assert behind(fleet(), "r1", ways) == ("c",)
    assert behind(fleet(), "r2", ways) == ("c",)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whoever_forwards_on_an_expected_path_carries_its_end(kind: str) -> None:
    """The controller's kernel sends everything to one host: its path from there is the expected one."""
    looked_at = 0
    for number in range(4):
        of = generated(kind, number)
        for version in VERSIONS:
            ways, wires = paths(of, version), wiring(of, version)
            for entry, target in itertools.permutations(of.hosts, 2):
                path = ways.path(entry, target)
                if path.address is None or not wires.of[entry]:
                    continue
                leads = {target: Lead(path.address, wires.of[entry][0].address)}
                passed = {name for name in path.way.through if name in of.hosts}
                entered = {entry} if carries_others(of, entry) else set()
                carrying = {name for name in of.hosts if target in behind(of, name, leads)}
                assert carrying >= passed | entered, (number, version, entry, target)
                looked_at += len(passed)
    assert looked_at


def test_what_a_run_takes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = fleet()
    hosts = {
        name: replace(each, address=str(each.interfaces[0].ipv4.ip) if each.interfaces[0].ipv4 else None)
        for name, each in of.hosts.items()
    }
    hosts["c"] = replace(hosts["c"], ssh=replace(hosts["c"].ssh, port=2222))
    of = replace(of, hosts=hosts)
    state = LabState.open("small", "", tmp_path)
    asked: list[Mapping[str, str]] = []

    def kernel(addresses: Mapping[str, str]) -> dict[str, Lead]:
        asked.append(addresses)
        return {name: lead(address, "10.0.1.2", "10.0.1.99") for name, address in addresses.items()}

    monkeypatch.setattr("labrun.tasks.configure.behind.leads", kernel)
    located = locate(of, None)
    assert carried_by(of, ["a", "b", "c"], located, state) == {}
    assert asked == [], "the kernel is asked where nobody carries anybody"
    assert carried_by(of, ["r2", "a"], located, state) == {
        "r2": [{"name": "c", "address": "10.0.3.10", "port": 2222}]
    }
    assert asked == [{name: str(each.address) for name, each in located.items()}]
