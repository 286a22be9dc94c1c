"""The hosts of a change: named as long as the column has room, counted otherwise."""

from __future__ import annotations

import pytest

from labrun.outcome import Outcome, Status
from labrun.runner.cli.terminal import Screen
from labrun.runner.views.changes import change_lines

LONG = "c" * 63


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("a", "b"), "a, b"),
        ((LONG,), LONG),
        ((LONG, "a"), f"{LONG} and 1 more"),
    ],
)
def test_one_host_is_named_whatever_its_length(hosts: tuple[str, ...], expected: str) -> None:
    rows = [Outcome(host, "machine", host, Status.WOULD_CHANGE, actual="would be created") for host in hosts]
    first = change_lines(rows, Screen(width=120), 40)[0]
    assert f" {expected}  machine" in first
