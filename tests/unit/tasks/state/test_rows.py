"""From an item to its row."""

from __future__ import annotations

import pytest

from labrun.outcome import Outcome, Status
from labrun.tasks.state.item import Item
from labrun.tasks.state.rows import row_of, standing

CHANGE = Item("x", {"": "1"}, {"": "0"}, note="it takes a reboot")


@pytest.mark.parametrize(
    ("item", "status", "why"),
    [
        (Item("x", {"": "1"}, {"": "1"}), Status.OK, None),
        (Item("x", {"": "1"}, skipped="not ours"), Status.SKIPPED, "not ours"),
        (Item("x", {"": "1"}, refused="cannot be"), Status.FAILED, "cannot be"),
        (CHANGE, Status.FAILED, "it takes a reboot"),
    ],
)
def test_what_was_not_touched_has_a_status(item: Item, status: Status, why: str | None) -> None:
    assert standing(item) == (status, why)


def test_a_row_has_the_item_s_words() -> None:
    row = row_of("one", "sysctl", CHANGE, Status.DRIFTED, "why", seconds=2.0)
    assert row == Outcome("one", "sysctl", "x", Status.DRIFTED, "1", "0", "why", "-0\n+1", seconds=2.0)
    after = Item("x", {"": "1"}, {"": "1"})
    assert row_of("one", "sysctl", after, Status.CHANGED, diff=CHANGE.diff).diff == "-0\n+1"
    assert row_of("one", "sysctl", after, Status.OK).diff is None
