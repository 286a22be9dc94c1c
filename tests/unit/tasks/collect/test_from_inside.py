"""Rows of a host that was read out of band: judged as others are, marked, and not as if it was reached."""

from __future__ import annotations

from dataclasses import replace

from labrun.outcome import OUT_OF_BAND, Outcome, exit_code
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.judge import judge
from tests.unit.small_labs import dual_stack

from .test_causes import healthy

WHY = f"sshd is not running; {OUT_OF_BAND}, over SSH: refused"


def rows(change: dict[str, object] | None = None) -> list[Outcome]:
    """Return host01's rows, read out of band, with these attributes of its capture changed."""
    of = dual_stack()
    captures: dict[str, Capture | Unreachable] = dict(healthy(of))
    own = captures["host01"]
    assert isinstance(own, Capture)
    captures["host01"] = replace(own, out_of_band=Unreachable(WHY), **(change or {}))  # type: ignore[arg-type]
    return judge(of, captures, ["host01", "host02"])


def test_the_reason_is_a_row_and_the_exit_code() -> None:
    found = rows()
    (ready,) = [row for row in found if row.section == "ready"]
    assert (ready.host, ready.status, ready.actual, ready.why) == ("host01", "unreachable", "no login", WHY)
    assert found[0] is ready
    assert exit_code(row for row in found if row.host == "host01" and row.section != "sshd") == 4


def test_what_was_seen_is_judged_and_marked() -> None:
    own = [row for row in rows() if row.host == "host01" and row.section in ("address", "route")]
    assert {(row.status, row.why) for row in own} == {("ok", OUT_OF_BAND)}
    broken = [
        row for row in rows({"links": {}, "routes": ()}) if row.section == "address" and row.host == "host01"
    ]
    assert {row.status for row in broken} == {"failed"}
    assert all(row.why is not None and row.why.endswith(f"; {OUT_OF_BAND}") for row in broken)


def test_paths_that_were_not_tried_are_unreachable_unless_something_stops_them() -> None:
    paths = {row.name: row for row in rows() if row.section == "path" and row.host == "host01"}
    assert {(row.status, row.why) for row in paths.values()} == {("unreachable", WHY)}
    stopped = [row for row in rows({"routes": ()}) if row.section == "path" and row.host == "host01"]
    assert {row.status for row in stopped} == {"failed"}
    assert all("no route" in (row.why or "") for row in stopped)


def test_other_hosts_are_not_marked() -> None:
    others = [row for row in rows() if row.host == "host02" and row.section in ("address", "route")]
    assert others
    assert not any(row.why for row in others)
