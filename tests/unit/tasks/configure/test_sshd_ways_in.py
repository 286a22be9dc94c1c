"""Ways in that sshd has closed by itself: who opens one has a row, with the real sshd where it is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.outcome import Status
from labrun.tasks.configure.sshd import Sshd
from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.verdict import verdict
from tests.unit.tasks.configure.test_sshd_match import (
    DECLARED,
    INCLUDE,
    OTHER,
    gathered,
    host,
    needs_sshd,
    planned,
    want,
)

__all__ = ["host"]

# sshd allows no block for the last two.
OPEN = [
    ("HostbasedAuthentication", "no", "yes", ""),
    ("HostbasedAuthentication", "no", "yes", "Match User alice\n"),
    ("HostbasedAuthentication", "no", "yes", "Match Address 10.0.0.0/8\n"),
    ("PermitUserEnvironment", "no", "yes", ""),
    ("StrictModes", "yes", "no", ""),
]


@needs_sshd
@pytest.mark.parametrize(("keyword", "closed", "value", "match"), OPEN)
def test_a_way_in_that_is_opened_has_a_row(
    host: tuple[Path, Path], keyword: str, closed: str, value: str, match: str
) -> None:
    assert {item.state for item in planned(gathered(host)).items} == {"ok"}
    (host[0] / "sshd_config.d" / "50-a.conf").write_text(f"{match}{keyword} {value}\n")
    plan = planned(gathered(host))
    (row,) = (item for item in plan.items if item.state != "ok")
    assert (row.name, row.expected, row.state, plan.apply) == (keyword.lower(), closed, "refused", "")
    assert verdict(row, None, asked=False).status is Status.DRIFTED
    why = f"the lab file does not set it: remove it there, or set {keyword} {closed} under `sshd`"
    if match:
        criteria = match.removeprefix("Match ").strip()
        why = (
            f"Match {criteria} in {OTHER}:2 sets {keyword.lower()} {value}: remove it there,"
            " labrun changes no sshd file but its own"
        )
        assert row.actual == f"{closed} ({value} for {criteria})"
    assert row.why == why


def test_what_the_lab_file_sets_is_compared_like_everything_else() -> None:
    wanted = want()
    wanted = {
        **wanted,
        "settings": [*wanted["settings"], {"keyword": "StrictModes", "values": ["no"], "reason": ""}],
    }
    text = f"{DECLARED}StrictModes no\n"
    facts = Facts({MAIN: INCLUDE, DROP_IN: text}, {"sshd": Captured(text.lower(), 0)}, frozenset())
    assert {item.state for item in Sshd().plan(wanted, facts).items} == {"ok"}
