"""Who has moved: every combination of what was applied, what is wanted, and what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labrun.outcome import Status
from labrun.tasks.state.fingerprint import Fingerprints, fingerprint
from labrun.tasks.state.item import NOTHING, Attributes, Item
from labrun.tasks.state.verdict import Verdict, combined, verdict

OK, PENDING, DRIFTED = Status.OK, Status.PENDING, Status.DRIFTED
CONFLICT, UNKNOWN, SKIPPED = Status.CONFLICT, Status.UNKNOWN, Status.SKIPPED


def item(want: str | None, have: str | None, **more: Attributes | str | None) -> Item:
    made = Item("x", NOTHING if want is None else {"": want}, NOTHING if have is None else {"": have})
    return replace(made, **more)  # type: ignore[arg-type]


APPLIED = fingerprint(item("old", "old"))
ODD = fingerprint(item("old", "old", seen={"": "OLD"}))


@pytest.mark.parametrize(
    ("one", "applied", "asked", "recorded", "status"),
    [
        # as wanted, whatever was recorded
        (item("old", "old"), APPLIED, True, True, OK),
        (item("new", "new"), APPLIED, True, True, OK),
        (item("new", "new"), None, True, False, OK),
        # the file moved, the host moved, both, neither
        (item("new", "old"), APPLIED, True, True, PENDING),
        (item("old", "new"), APPLIED, True, True, DRIFTED),
        (item("old", None), APPLIED, True, True, DRIFTED),
        (item("new", "other"), APPLIED, True, True, CONFLICT),
        (item("new", None), APPLIED, True, True, CONFLICT),
        (item("old", "old", refused="no"), APPLIED, True, True, UNKNOWN),
        # what only shows after a restart counts like what shows now
        (item("old", "old", later={"": "new"}), APPLIED, True, True, DRIFTED),
        (item("new", "old", later={"": "old"}), APPLIED, True, True, PENDING),
        (item("new", "old", later={"": "other"}), APPLIED, True, True, CONFLICT),
        # the host's own spelling: `have` is as the file has it, `seen` as the host does
        (item("new", "OLD", seen={"": "OLD"}), ODD, True, True, PENDING),
        (item("old", "OTHER", seen={"": "OTHER"}), ODD, True, True, DRIFTED),
        (item("new", "OLD", seen={"": "OLD"}, later={"": "old"}), ODD, True, True, PENDING),
        (item("old", "old", seen={"": "OLD"}, later={"": ""}), ODD, True, True, DRIFTED),
        # never applied: a host without a record, and one with a record of other things
        (item("new", "old"), None, True, False, PENDING),
        (item("new", "old"), None, True, True, PENDING),
        # there, and in the file no more, or never
        (item(None, "old"), APPLIED, False, True, PENDING),
        (item(None, "new"), APPLIED, False, True, CONFLICT),
        (item(None, "old"), None, False, True, DRIFTED),
        (item(None, "old"), None, False, False, PENDING),
        # not reported: an owner that does not answer, and one that says there is nothing
        (item("old", None, refused="no answer"), APPLIED, True, True, UNKNOWN),
        (item("new", None, refused="no answer"), APPLIED, True, True, PENDING),
        (item("old", "", refused="not there"), APPLIED, True, True, DRIFTED),
        # left alone
        (item("old", "new", skipped="not ours"), APPLIED, True, True, SKIPPED),
        # a record that says nothing
        (item("old", "new"), {}, True, True, UNKNOWN),
    ],
)
def test_the_side_that_moved_gives_the_verdict(
    one: Item, applied: Fingerprints | None, asked: bool, recorded: bool, status: Status
) -> None:
    assert verdict(one, applied, asked=asked, recorded=recorded).status is status


FILE = Item("/etc/x", {"content": "a", "mode": "0600", "owner": "root"})


def there(item: Item, **attributes: str) -> Item:
    return replace(item, have={**item.want, **attributes})


def test_each_attribute_has_a_verdict_of_its_own() -> None:
    applied = fingerprint(there(FILE))
    wanted = replace(FILE, want={**FILE.want, "mode": "0644"})
    found = verdict(there(wanted, mode="0600", owner="bin"), applied)
    assert found == Verdict(CONFLICT, {"mode": PENDING, "owner": DRIFTED})
    assert (found.moved(DRIFTED, CONFLICT), found.moved(PENDING, CONFLICT)) == (("owner",), ("mode",))


def test_an_attribute_that_the_file_has_begun_to_mention_is_pending() -> None:
    plain = Item("/etc/x", {"content": "a"}, {"content": "a", "mode": "0600"})
    applied = fingerprint(plain)
    found = verdict(replace(plain, want={"content": "a", "mode": "0644"}), applied)
    assert found == Verdict(PENDING, {"mode": PENDING})


def test_a_record_with_shorter_hashes_is_as_good() -> None:
    short = {key: type(one)(one.wanted[:8], one.found[:8]) for key, one in APPLIED.items()}
    assert verdict(item("new", "old"), short).status is PENDING
    assert verdict(item("old", "new"), short).status is DRIFTED


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((), OK),
        ((OK, OK), OK),
        ((OK, PENDING), PENDING),
        ((DRIFTED, OK), DRIFTED),
        ((DRIFTED, PENDING), CONFLICT),
        ((DRIFTED, CONFLICT), CONFLICT),
        ((UNKNOWN, DRIFTED), DRIFTED),
        ((UNKNOWN, OK), UNKNOWN),
    ],
)
def test_the_verdict_on_a_thing_follows_from_its_parts(parts: tuple[Status, ...], whole: Status) -> None:
    assert combined(parts) is whole
