"""One table of looks: every status is in it, and what is worse is worse everywhere."""

from __future__ import annotations

import pytest

from labrun.inventory.drawing.diagram import Health
from labrun.outcome import Status
from labrun.runner.views.status_look import LOOKS, look
from labrun.runner.watching.metrics import HOST_STATES


def test_every_status_has_one_look() -> None:
    assert set(LOOKS) == set(Status)
    assert all(look(status).status is status for status in Status)
    assert {each.health for each in LOOKS.values()} == set(Health)


def test_the_worst_stand_first() -> None:
    ranks = [each.rank for each in LOOKS.values()]
    assert ranks == sorted(ranks)
    assert HOST_STATES == ("failed", "unreachable", "unknown", "conflict", "drifted", "pending", "ok")


@pytest.mark.parametrize("status", Status)
def test_looks_agree_with_the_exit_code(status: Status) -> None:
    shown = look(status)
    junit = {0: None, 1: "failure", 3: "failure", 4: "error"}[status.code]
    assert shown.junit == ("skipped" if status is Status.SKIPPED else junit)
    assert bool(shown.bright) == (not shown.is_good)
    assert shown.is_good == (status.code == 0 and status is not Status.WARNING)
    assert (shown.metric == "ok") == (status.code == 0)
