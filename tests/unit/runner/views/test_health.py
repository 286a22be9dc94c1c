"""How a verify colours hosts and links: red is where the cause is."""

from __future__ import annotations

from dataclasses import replace

from labrun.inventory.drawing.diagram import Health, worst
from labrun.outcome import Family, Nic, Outcome, Pair, Status
from labrun.runner.views.health import health_of
from tests.unit.small_labs import host, lab, network
from tests.unit.twin_lab import twins
from tests.unit.verify_cases import captured


def path(source: str, target: str, status: Status, family: Family = 4) -> Outcome:
    about = Pair(source, target, family)
    return Outcome(source, "path", f"{source} -> {target}", status, subject=about)


def test_a_healthy_lab_is_all_ok() -> None:
    case = captured("ok")
    found = health_of(case.lab, case.rows)
    assert found.hosts == dict.fromkeys(case.lab.hosts, Health.OK)
    assert set(found.links.values()) == {Health.OK}
    assert len(found.links) == 6


def test_the_router_that_does_not_forward_is_red_and_those_behind_it_are_not() -> None:
    case = captured("broken")
    found = health_of(case.lab, case.rows)
    assert found.hosts == {
        "host00": Health.FAILED,
        "host01": Health.IMPAIRED,
        "host02": Health.IMPAIRED,
        "host03": Health.IMPAIRED,
        "host04": Health.UNREACHABLE,
    }
    assert found.links == {
        ("host00", "network1"): Health.OK,
        ("host00", "network2"): Health.OK,
        ("host01", "network1"): Health.OK,
        ("host02", "network1"): Health.OK,
        ("host03", "network2"): Health.OK,
        ("host04", "network2"): Health.UNREACHABLE,
    }


def test_a_path_that_fails_for_no_reason_of_another_host_makes_its_own_red() -> None:
    of = captured("ok").lab
    row = replace(path("host01", "host02", Status.FAILED), why="host00: is a word of a guest's")
    assert health_of(of, [row]).hosts == {"host01": Health.FAILED}


def test_a_path_that_fails_makes_the_host_red_that_it_blames_whatever_its_reason_begins_with() -> None:
    of = captured("ok").lab
    why = "packets of 1500 bytes get lost, small ones do not: host00: eth0 has the MTU 1300"
    row = replace(path("host01", "host03", Status.FAILED), why=why, blamed="host00")
    assert health_of(of, [row]).hosts == {"host00": Health.FAILED, "host01": Health.IMPAIRED}


def test_links_of_hosts_that_have_ipv6_alone_are_told_by_their_paths() -> None:
    six = lab(
        [network("n", None, cidr6="fd00:1::/64")],
        [host(name, {"n": f"fd00:1::{name}/64"}) for name in "ab"],
    )
    rows = [Outcome("a", "address", "n", Status.OK, subject=Nic("a", "n")), path("a", "b", Status.FAILED, 6)]
    assert health_of(six, rows).links["a", "n"] is Health.IMPAIRED


def test_a_link_that_no_path_crosses_is_impaired() -> None:
    of = captured("ok").lab
    rows = [
        Outcome("host01", "address", "network1", Status.OK, subject=Nic("host01", "network1")),
        path("host00", "host02", Status.OK),
        path("host01", "host00", Status.FAILED),
    ]
    assert health_of(of, rows).links == {
        ("host01", "network1"): Health.IMPAIRED,
    }
    rows.append(path("host02", "host01", Status.OK))
    assert health_of(of, rows).links == {("host01", "network1"): Health.OK}


def test_warnings_impair_and_skipped_rows_tell_nothing() -> None:
    of = captured("ok").lab
    rows = [
        Outcome("host01", "check", "web", Status.WARNING, "open", "refused", "nobody listens"),
        Outcome("host02", "check", "dns", Status.SKIPPED, "open", None, "not asked"),
    ]
    assert health_of(of, rows).hosts == {"host01": Health.IMPAIRED}


def test_hosts_that_the_file_no_longer_has_are_passed_over() -> None:
    of = captured("ok").lab
    rows = [
        Outcome("gone", "address", "network1", Status.FAILED),
        replace(path("host01", "gone", Status.FAILED), why="gone: is off", blamed="gone"),
        Outcome("hypervisor", "network", "network1", Status.FAILED),
    ]
    assert health_of(of, rows).hosts == {"host01": Health.FAILED}


def test_the_worst_of_several() -> None:
    assert worst() is Health.UNKNOWN
    assert worst(Health.OK, Health.FAILED, Health.UNREACHABLE) is Health.FAILED


def test_nics_on_one_network_have_a_health_each() -> None:
    rows = [
        Outcome("h", "address", "left", Status.OK, subject=Nic("h", "left")),
        Outcome("h", "address", "left2", Status.FAILED, subject=Nic("h", "left2")),
    ]
    assert health_of(twins(), rows).links == {("h", "left"): Health.OK, ("h", "left2"): Health.FAILED}


def test_a_path_that_fails_tells_nothing_of_either_of_two_nics() -> None:
    assert health_of(twins(), [path("w", "h", Status.FAILED)]).links == {}
    assert set(health_of(twins(), [path("x", "w", Status.FAILED)]).links) == {
        ("x", "right"),
        ("r", "right"),
        ("r", "left"),
        ("w", "left"),
    }
