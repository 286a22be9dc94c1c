"""How often an item has drifted, by what the history has of it."""

from __future__ import annotations

import pytest

from labrun.runner.commands.drift.earlier import Moved, how_long, moved_json, moved_lines, moves_in

NOW = 1_795_648_000.0


def statuses(*earlier: str) -> list[tuple[str, float]]:
    """Return the statuses, oldest first in the call and newest first in the result, a minute apart."""
    count = len(earlier)
    return [(status, NOW - 60 * (count - number)) for number, status in enumerate(earlier)][::-1]


@pytest.mark.parametrize(
    ("earlier", "found"),
    [
        ((), None),
        (("changed",), None),
        (("changed", "ok", "ok"), None),
        (("changed", "drifted", "drifted"), None),
        (("changed", "drifted", "changed"), Moved(2, NOW - 120)),
        (("changed", "drifted", "drifted", "changed", "unreachable", "ok"), Moved(2, NOW - 300)),
        (("ok", "conflict", "changed", "drifted", "ok"), Moved(3, NOW - 240)),
        # What is on record only as wrong has moved no more than once.
        (("drifted", "unknown", "drifted", "failed"), None),
        (("failed", "changed", "failed", "changed"), None),
    ],
)
def test_what_was_put_right_and_drifts_again_is_counted(
    earlier: tuple[str, ...], found: Moved | None
) -> None:
    assert moves_in(statuses(*earlier), NOW) == found


def test_an_item_that_does_not_stay_is_told_in_both_forms() -> None:
    moved = {("a", "sysctl", "net.ipv4.ip_forward"): Moved(3, NOW), ("a", "hostname", "a"): Moved(2, NOW)}
    first, second = moved_lines(moved)
    assert first.startswith("a: sysctl net.ipv4.ip_forward has drifted 3 times since ")
    assert first.endswith(": something there, such as a timer or another tool, sets it again")
    assert second.startswith("a: hostname has drifted 2 times since ")
    assert moved_json(moved)[0] == {
        "host": "a",
        "section": "sysctl",
        "name": "net.ipv4.ip_forward",
        "times": 3,
        "since": "2026-11-25T23:06:40Z",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (1, "1 second"), (90, "1 minute"), (7200, "2 hours"), (86400 * 800, "2 years")],
)
def test_a_duration_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert how_long(seconds) == text
