"""The verdict from three sides, every combination."""

from __future__ import annotations

import pytest

from labrun.outcome import Status
from labrun.tasks.drift.verdict import Sides, verdict

OK, PENDING, DRIFTED = Status.OK, Status.PENDING, Status.DRIFTED
CONFLICT, UNKNOWN = Status.CONFLICT, Status.UNKNOWN


@pytest.mark.parametrize(
    ("sides", "status"),
    [
        (Sides(True, "d", "o", None), OK),
        (Sides(True, "new", "new", ("d", "o")), OK),
        (Sides(False, "d", "o", None), PENDING),
        (Sides(False, "d", "o", None, asked=False), DRIFTED),
        (Sides(False, "d", "o", None, asked=False, recorded=False), PENDING),
        (Sides(False, "new", "o", ("d", "o")), PENDING),
        (Sides(False, "d", "new", ("d", "o")), DRIFTED),
        (Sides(False, "new", "new", ("d", "o")), CONFLICT),
        (Sides(False, "d", "o", ("d", "o")), UNKNOWN),
        (Sides(False, "d", None, ("d", "o")), UNKNOWN),
        (Sides(False, "new", None, ("d", "o")), PENDING),
        (Sides(False, "d", "o", ("d", "o"), asked=False), PENDING),
        (Sides(False, "d", "new", ("d", "o"), asked=False), CONFLICT),
    ],
)
def test_the_side_that_moved_gives_the_verdict(sides: Sides, status: Status) -> None:
    assert verdict(sides) is status
