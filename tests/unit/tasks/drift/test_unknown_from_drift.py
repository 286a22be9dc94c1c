"""What is unknown only because something has drifted does not outrank drift in the exit code."""

from __future__ import annotations

from labrun.outcome import Fault, Outcome, Pair, Status, exit_code
from labrun.tasks.drift.network_rows import with_verdicts
from tests.unit.mutated_gathers import HOSTS, gather_of, judged
from tests.unit.small_labs import two_networks

LAB = two_networks()
SOURCE, TARGET = list(LAB.hosts)[:2]
ENDS = Pair(SOURCE, TARGET, 4)
FAULT = Fault("r", "net.ipv4.ip_forward is 0", "sysctl", "net.ipv4.ip_forward")


def check(due_to: Status | None) -> Outcome:
    return Outcome(
        ENDS.source, "check", "no-telnet", Status.UNKNOWN, "blocked", subject=ENDS, fault=FAULT, due_to=due_to
    )


def test_a_check_that_a_failed_path_leaves_open_has_that_path_s_verdict() -> None:
    (row,) = with_verdicts(LAB, [check(Status.FAILED)], {}, ())
    assert (row.status, row.due_to, row.exit_code) == (Status.UNKNOWN, Status.DRIFTED, 3)
    pending = Outcome(ENDS.source, "sysctl", "net.ipv4.ip_forward", Status.PENDING)
    (row,) = with_verdicts(LAB, [check(Status.FAILED)], {ENDS.source: [pending]}, ())
    assert (row.due_to, row.exit_code) == (Status.PENDING, 3)


def test_one_that_is_unknown_by_itself_still_comes_before_drift() -> None:
    for due_to in (None, Status.UNKNOWN):
        (row,) = with_verdicts(LAB, [check(due_to)], {}, ())
        assert (row.due_to, row.exit_code) == (due_to, 4)
    drifted = Outcome("a", "sysctl", "x", Status.DRIFTED)
    assert exit_code([drifted, check(None)]) == 4
    assert exit_code([drifted, check(Status.DRIFTED)]) == 3


def test_the_json_document_has_the_row_as_before() -> None:
    assert check(Status.FAILED).as_json()["status"] == "unknown"
    assert not {"due_to", "fault", "by_hand", "before", "changes"} & check(Status.FAILED).as_json().keys()


def test_recorded_hosts_without_forwarding_blame_the_router_with_what_mends_it() -> None:
    hosts = {
        name: gather_of(name, "router-configured" if name == "r" else "host-configured", "forwarding-off")
        for name in HOSTS
    }
    (row,) = [row for row in judged(hosts)["verify"] if row.name == "a -> c"]
    assert row.fault == Fault(
        "r",
        "net.ipv4.ip_forward is 0",
        "sysctl",
        "net.ipv4.ip_forward",
        ("sysctl -w net.ipv4.ip_forward=1",),
    )
