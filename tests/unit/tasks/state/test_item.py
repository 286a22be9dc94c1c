"""An item: what follows from the attributes that are wanted, there now, and there after a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labrun.tasks.state.item import Difference, Item, Words, diff_of

UNIT = Item("cron", {"boot": "enabled", "now": "running"}, {"boot": "enabled", "now": "stopped"})


@pytest.mark.parametrize(
    ("item", "state", "differences"),
    [
        (Item("x"), "ok", {}),
        (Item("x", {"": "1"}, {"": "1"}), "ok", {}),
        (Item("x", {"": "1"}), "change", {"": ("", "1")}),
        (Item("x", have={"": "1"}), "change", {"": ("1", "")}),
        (Item("x", {"": "1"}, {"": "0"}), "change", {"": ("0", "1")}),
        (Item("x", {"": "1"}, {"": "1"}, later={"": "1"}), "ok", {}),
        (Item("x", {"": "1"}, {"": "1"}, later={"": "0"}), "change", {"": ("0", "1")}),
        (Item("x", {"": "1"}, {"": "1"}, later={"": ""}), "change", {"": ("", "1")}),
        (Item("x", {"": "1"}, {"": "0"}, later={"": "1"}), "change", {"": ("0", "1")}),
        (Item("x", {"": "1"}, {"": "0"}, later={"": "2"}), "change", {"": ("0", "1")}),
        (UNIT, "change", {"now": ("stopped", "running")}),
        # Nobody has asked for this owner.
        (Item("x", {"mode": "0600"}, {"mode": "0600", "owner": "bin"}), "ok", {}),
        # The host has a spelling of its own, and the resource says that both mean the same.
        (Item("x", {"": "30"}, {"": "30"}, seen={"": "0:30"}), "ok", {}),
    ],
)
def test_what_is_not_as_wanted_now_or_later_differs(
    item: Item, state: str, differences: dict[str, tuple[str, str]]
) -> None:
    assert (item.state, item.differences) == (state, differences)


def test_what_is_refused_or_skipped_is_so_whether_it_differs_or_not() -> None:
    assert (replace(UNIT, refused="no").state, replace(UNIT, refused="no").why) == ("refused", "no")
    left = replace(UNIT, refused="no", skipped="not ours")
    assert (left.state, left.why, left.diff) == ("skipped", "not ours", None)
    assert Item("x", refused="no").state == "refused"


def test_a_note_belongs_to_a_change() -> None:
    assert replace(UNIT, note="later").why == "later"
    assert Item("x", {"": "1"}, {"": "1"}, note="later").why is None


@pytest.mark.parametrize(
    ("item", "expected", "actual", "diff"),
    [
        (Item("x", {"": "1"}, {"": "1"}), "1", "1", None),
        (Item("x", {"": "1"}), "1", "", "+1"),
        (Item("x", have={"": "1"}), "not declared", "1", "-1"),
        (Item("x", {"": "1"}, {"": "1"}, later={"": "0"}), "1", "1 (0 after a reboot)", "-0\n+1"),
        (Item("x", {"": "1"}, {"": "1"}, later={"": ""}), "1", "1 (not kept across a reboot)", "+1"),
        (UNIT, "enabled, running", "enabled, stopped", "- now: stopped\n+ now: running"),
        (Item("x", {"mode": "0600"}, {"mode": "0600", "owner": "bin"}), "0600", "0600", None),
    ],
)
def test_people_read_the_attributes(item: Item, expected: str, actual: str, diff: str | None) -> None:
    assert (item.expected, item.actual, item.diff) == (expected, actual, diff)


def test_a_resource_may_have_words_of_its_own() -> None:
    item = replace(UNIT, words=Words("on", "off", "-off\n+on"))
    assert (item.expected, item.actual, item.diff) == ("on", "off", "-off\n+on")
    there = replace(item, have=item.want)
    assert (there.actual, there.diff) == ("off", None)
    assert replace(UNIT, words=Words(actual="")).actual == ""
    assert replace(UNIT, words=Words(diff="")).diff is None


def test_a_diff_of_attributes_can_be_made_by_itself() -> None:
    assert diff_of({"mode": Difference("", "0600"), "": Difference("a", "b")}) == "+ mode: 0600\n-a\n+b"
    assert diff_of({}) == ""
