"""The rows of a `configure` that needed a second attempt."""

from __future__ import annotations

from labrun.outcome import Outcome, Status
from labrun.runner.commands.both_ends import with_earlier


def row(host: str, status: Status, section: str = "nmcli", name: str = "lan") -> Outcome:
    return Outcome(host, section, name, status)


def test_what_the_first_attempt_has_changed_is_a_change_of_the_run() -> None:
    earlier = [row("far", Status.CHANGED), row("gate", Status.ROLLED_BACK), row("gate", Status.OK, "sysctl")]
    again = [row("far", Status.OK), row("gate", Status.CHANGED), row("gate", Status.OK, "sysctl")]
    assert with_earlier(earlier, again) == [earlier[0], *again[1:]]


def test_what_went_back_at_the_second_is_no_change() -> None:
    again = [row("far", Status.ROLLED_BACK)]
    assert with_earlier([row("far", Status.CHANGED)], again) == again
