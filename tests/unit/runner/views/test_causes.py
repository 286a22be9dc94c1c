"""Causes: each once, with what follows from it, and never from the text of a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labrun.outcome import Fault, Nic, Outcome, Pair, Status
from labrun.runner.views.cause_text import breaks, by_hand, headline
from labrun.runner.views.causes import causes, changed_values
from tests.unit.mutated_gathers import HOSTS, gather_of, judged
from tests.unit.verify_cases import captured

FORWARD = "net.ipv4.ip_forward"
ROUTER = Outcome("r", "sysctl", FORWARD, Status.FAILED, "1", "0", by_hand=(f"sysctl -w {FORWARD}=1",))
FAULT = Fault("r", f"{FORWARD} is 0", "sysctl", FORWARD)


def path(source: str, target: str, fault: Fault | None = FAULT, status: Status = Status.FAILED) -> Outcome:
    name = f"{source} -> {target}"
    why = f"{fault.host}: {fault.what}" if fault is not None else "no answer"
    return Outcome(source, "path", name, status, "x", "*", why, subject=Pair(source, target, 4), fault=fault)


def test_a_setting_is_the_cause_of_the_paths_that_blame_it() -> None:
    (found,) = causes([path("a", "b"), ROUTER, path("b", "a")])
    assert headline(found) == f"r: {FORWARD} is 0, expected 1"
    assert [row.name for row in found.effects] == ["a -> b", "b -> a"]
    assert found.rows == (ROUTER,)
    assert breaks(found) == "path a -> b, path b -> a"
    assert by_hand(found) == [f"sudo sysctl -w {FORWARD}=1   # on r"]
    assert found.labrun == "labrun configure --hosts r"


def test_without_a_row_of_its_own_a_fault_is_still_one_cause() -> None:
    fault = Fault("r", "nftables drops it: drop")
    (found,) = causes([path("a", "b", fault), path("b", "a", fault)])
    assert headline(found) == "r: nftables drops it: drop"
    assert (found.count, found.labrun) == (2, "labrun verify --pair a:b")
    assert by_hand(found) == []


def test_reasons_alike_in_their_words_are_two_causes_if_their_faults_are() -> None:
    other = replace(FAULT, host="s", name="other")
    rows = [replace(path("a", "b"), why="same"), replace(path("a", "c", other), why="same")]
    assert len(causes(rows)) == 2


def test_what_follows_follows_on() -> None:
    nic = Outcome(
        "a", "address", "n", Status.FAILED, "10.0.0.1/24", "none", "eth0 is down", subject=Nic("a", "n")
    )
    route = Outcome(
        "a", "route", "default", Status.FAILED, "via r", "absent", fault=Fault("a", "x", "address", "n")
    )
    lost = path("a", "b", Fault("a", "no route to b", "route", "default"))
    (found,) = causes([lost, route, nic])
    assert headline(found) == "a: address n is none, expected 10.0.0.1/24; eth0 is down"
    assert breaks(found) == "path a -> b, route default of a"


def test_faults_that_point_at_each_other_end() -> None:
    one = Outcome("a", "route", "x", Status.FAILED, fault=Fault("a", "y", "route", "y"))
    two = Outcome("a", "route", "y", Status.FAILED, fault=Fault("a", "x", "route", "x"))
    assert sum(found.count for found in causes([one, two])) == 2


def test_a_silent_host_is_one_cause_with_all_its_rows() -> None:
    found = causes(captured("broken").rows)
    assert [headline(each) for each in found] == [
        f"host00: {FORWARD} is 0, expected 1",
        "host04: the machine is shut off: `labrun up` starts it",
    ]
    assert [each.status for each in found] == [Status.FAILED, Status.UNREACHABLE]
    assert breaks(found[0]) == "6 paths"
    assert breaks(found[1]) == "path host00 -> host04, path host03 -> host04"
    assert found[1].labrun == "labrun up --hosts host04"
    assert sum(each.count for each in found) == 29, "no row is lost"


def test_a_machine_that_labrun_did_not_make_has_no_console_of_its_own() -> None:
    rows = [
        Outcome(host, "route", "default", Status.UNREACHABLE, why=f"10.9.9.{number} port 22 timed out")
        for number, host in enumerate(("made", "found"), start=1)
    ]
    commands = {each.at: each.labrun for each in causes(rows, existing={"found"})}
    assert commands == {"made": "labrun console made", "found": "labrun ssh found"}


def test_the_same_on_many_hosts_is_said_once() -> None:
    rows = [replace(ROUTER, host=f"h{number}") for number in range(20)]
    (found,) = causes(rows)
    assert headline(found) == f"h0, h1, h2 and 17 more hosts: {FORWARD} is 0, expected 1"
    assert found.labrun == "labrun configure", "of all hosts"
    assert by_hand(found) == [f"sudo sysctl -w {FORWARD}=1   # on each of the 20 hosts"]


def test_many_settings_of_one_section_are_one_cause() -> None:
    rows = [Outcome("h", "sshd", f"key{number}", Status.FAILED, "no", "yes") for number in range(13)]
    (found,) = causes(rows)
    assert headline(found) == "h: 13 sshd settings are not as declared"
    assert by_hand(found) == ["labrun configure --hosts h --dry-run --explain"]
    assert len(causes(rows[:3])) == 3


def test_paths_without_a_known_cause_are_put_together_by_their_reason() -> None:
    rows = [path("a", "b", None), path("b", "a", None)]
    (found,) = causes(rows)
    assert (headline(found), found.count) == ("no answer", 2)


def test_drift_of_a_profile_explains_the_address_and_the_routes() -> None:
    profile = Outcome("a", "nmcli", "n", Status.DRIFTED, "10.0.0.1/24", "10.0.0.9/24")
    address = Outcome(
        "a", "address", "n", Status.DRIFTED, "10.0.0.1/24", "10.0.0.9/24", subject=Nic("a", "n")
    )
    route = Outcome("a", "route", "default", Status.DRIFTED, "via r", "absent")
    (found,) = causes([profile, address, route])
    assert headline(found) == "a: nmcli n 10.0.0.1/24 -> 10.0.0.9/24"
    assert (len(found.effects), found.labrun) == (2, "labrun drift --fix")


@pytest.mark.parametrize(
    ("status", "before", "values"),
    [
        (Status.DRIFTED, None, ("1", "0")),
        (Status.PENDING, None, ("0", "1")),
        (Status.WOULD_CHANGE, None, ("0", "1")),
        (Status.CHANGED, "7", ("7", "0")),
        (Status.CHANGED, None, None),
        (Status.FAILED, None, None),
    ],
)
def test_a_change_reads_from_before_to_after(
    status: Status, before: str | None, values: tuple[str, str] | None
) -> None:
    row = Outcome("h", "sysctl", "k", status, "1", "0", before=before)
    assert changed_values(row) == values


def test_the_recorded_router_that_does_not_forward_is_the_only_cause() -> None:
    hosts = {
        "r": gather_of("r", "router-configured", "forwarding-off"),
        **{name: gather_of(name, "host-configured", "forwarding-off") for name in HOSTS if name != "r"},
    }
    rows = judged(hosts)["verify"]
    found = [each for each in causes(rows) if any(row.section == "path" for row in each.effects)]
    (forwarding,) = found
    assert headline(forwarding) == f"r: {FORWARD} is 0, expected 1"
    assert forwarding.by_hand == (f"sysctl -w {FORWARD}=1",)
    assert {row.name for row in forwarding.effects} == {"a -> c", "c -> a"}
