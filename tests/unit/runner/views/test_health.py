"""How a verify colours hosts and links: red is where the cause is."""

from __future__ import annotations

from labrun.inventory.drawing.diagram import Health, worst
from labrun.outcome import Outcome, Status
from labrun.runner.views.health import health_of, rated
from tests.unit.verify_cases import captured


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
    lab = captured("ok").lab
    row = Outcome("host01", "path", "host01 -> host02", Status.FAILED, "10.201.0.12", "*", "no answer")
    assert health_of(lab, [row]).hosts == {"host01": Health.FAILED}


def test_a_link_that_no_path_crosses_is_impaired() -> None:
    lab = captured("ok").lab
    rows = [
        Outcome("host01", "address", "network1", Status.OK),
        Outcome("host00", "path", "host00 -> host02", Status.OK, "10.201.0.12", "10.201.0.12"),
        Outcome("host01", "path", "host01 -> host00", Status.FAILED, "10.201.0.254", "*", "no answer"),
    ]
    assert health_of(lab, rows).links == {
        ("host01", "network1"): Health.IMPAIRED,
    }
    rows.append(Outcome("host02", "path", "host02 -> host01", Status.OK, "10.201.0.11", "10.201.0.11"))
    assert health_of(lab, rows).links == {("host01", "network1"): Health.OK}


def test_warnings_impair_and_skipped_rows_tell_nothing() -> None:
    lab = captured("ok").lab
    rows = [
        Outcome("host01", "check", "web", Status.WARNING, "open", "refused", "nobody listens"),
        Outcome("host02", "check", "dns", Status.SKIPPED, "open", None, "not asked"),
    ]
    assert health_of(lab, rows).hosts == {"host01": Health.IMPAIRED}


def test_hosts_that_the_file_no_longer_has_are_passed_over() -> None:
    lab = captured("ok").lab
    rows = [
        Outcome("gone", "address", "network1", Status.FAILED),
        Outcome("host01", "path", "host01 -> gone", Status.FAILED, "10.201.0.99", "*", "gone: is off"),
        Outcome("hypervisor", "network", "network1", Status.FAILED),
    ]
    assert health_of(lab, rows).hosts == {"host01": Health.FAILED}


def test_every_status_has_a_colour() -> None:
    assert {rated(status) for status in Status} == set(Health)
    assert worst() is Health.UNKNOWN
    assert worst(Health.OK, Health.FAILED, Health.UNREACHABLE) is Health.FAILED
