"""What `drift --fix` takes, what it leaves and why, and what it says afterwards."""

from __future__ import annotations

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.commands.drift.fix import Fix, after_fix, choose

DRIFTED, PENDING, CONFLICT, OK = Status.DRIFTED, Status.PENDING, Status.CONFLICT, Status.OK
ROWS = [
    Outcome(HYPERVISOR, "network", "left", DRIFTED),
    Outcome(HYPERVISOR, "network", "right", PENDING),
    Outcome("one", "machine", "one", DRIFTED, diff="- memory: 1"),
    Outcome("one", "machine", "ssh-host-key", DRIFTED),
    Outcome("one", "sysctl", "a", DRIFTED, diff="-a = 0"),
    Outcome("one", "sysctl", "b", OK),
    Outcome("one", "nmcli", "left", DRIFTED),
    Outcome("one", "nmcli", "right", PENDING),
    Outcome("one", "path", "one -> two", DRIFTED),
    Outcome("two", "sysctl", "a", CONFLICT),
    Outcome("two", "sshd", "port", Status.UNREACHABLE),
]


def test_only_what_has_drifted_is_taken_and_a_section_that_the_file_has_moved_is_left() -> None:
    wanted = choose(ROWS, Fix())
    assert wanted.networks == {"left"}
    assert wanted.machines == {"one"}
    assert wanted.sections == {"one": ("sysctl",)}
    assert wanted.items == {
        (HYPERVISOR, "network", "left"),
        ("one", "machine", "one"),
        ("one", "sysctl", "a"),
    }
    assert wanted.left == {
        ("one", "nmcli", "left"): "left alone: nmcli right is pending too; --apply-pending applies both"
    }


def test_pending_and_conflict_are_taken_where_that_is_allowed() -> None:
    wanted = choose(ROWS, Fix(apply_pending=True))
    assert wanted.networks == {"left", "right"}
    assert wanted.sections == {"one": ("sysctl", "nmcli"), "two": ("sysctl",)}
    assert (len(wanted.items), wanted.left) == (7, {})


def test_what_is_right_now_has_changed_and_what_failed_says_so() -> None:
    wanted = choose(ROWS, Fix())
    done = [
        Outcome("one", "machine", "one", Status.FAILED, why="libvirt refused"),
        Outcome("one", "sysctl", "a", Status.CHANGED),
        Outcome(HYPERVISOR, "network", "left", PENDING, why="it has to be restarted"),
    ]
    after = [
        ROWS[0],
        ROWS[2],
        Outcome("one", "sysctl", "a", OK, "1", "1"),
        Outcome("one", "sysctl", "b", OK),
        ROWS[6],
        Outcome("one", "path", "one -> two", OK),
    ]
    found = after_fix(ROWS, done, after, wanted)
    assert [(row.section, row.name, row.status, row.why) for row in found] == [
        ("network", "left", DRIFTED, "it has to be restarted"),
        ("machine", "one", Status.FAILED, "libvirt refused"),
        ("sysctl", "a", Status.CHANGED, None),
        ("sysctl", "b", OK, None),
        ("nmcli", "left", DRIFTED, wanted.left["one", "nmcli", "left"]),
        ("path", "one -> two", OK, None),
    ]
    assert found[2].diff == "-a = 0"


def test_what_had_to_go_and_is_gone_is_not_forgotten() -> None:
    gone = Outcome("one", "sysctl", "c", DRIFTED)
    wanted = choose([gone], Fix())
    step = Outcome("one", "sysctl", "c", Status.CHANGED, "not declared", "not declared")
    assert after_fix([gone], [step], [], wanted) == [step]
