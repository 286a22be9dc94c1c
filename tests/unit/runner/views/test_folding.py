"""Many equal settings of one host are one row of the table, and nothing else is."""

from __future__ import annotations

import io

from labrun.outcome import Outcome, Status
from labrun.runner.views.folding import fold
from labrun.runner.views.table import render, subject

SETTINGS = [Outcome("host01", "sshd", f"keyword{number}", Status.OK, "no", "no") for number in range(5)]


def test_settings_of_one_status_are_one_row() -> None:
    (row,) = fold(SETTINGS)
    assert (row.host, row.section, row.name, row.status) == ("host01", "sshd", "(5 settings)", Status.OK)


def test_what_failed_or_has_a_reason_stays() -> None:
    failed = Outcome("host01", "sshd", "maxsessions", Status.FAILED, "10", "2", "a Match block sets it")
    spoken = Outcome("host01", "sshd", "port", Status.OK, "22", "22", "by another file")
    assert fold([failed, *SETTINGS, spoken])[0] == failed
    assert fold([failed, *SETTINGS, spoken])[-1] == spoken
    assert len(fold([failed, *SETTINGS, spoken])) == 3


def test_few_rows_other_hosts_and_other_sections_are_not_folded() -> None:
    assert fold(SETTINGS[:2]) == SETTINGS[:2]
    paths = [Outcome("host01", "path", f"host01 -> host0{number}", Status.OK) for number in range(5)]
    assert fold(paths) == paths
    other = [Outcome("host02", "sshd", f"keyword{number}", Status.OK) for number in range(3)]
    assert [row.host for row in fold([*SETTINGS, *other])] == ["host01", "host02"]


def test_a_host_that_nobody_reaches_is_one_row_with_its_reason() -> None:
    sections = ("sysctl", "sshd", "nmcli", "path")
    silent = [Outcome("host01", name, name, Status.UNREACHABLE, "x", None, "no login") for name in sections]
    other = [Outcome("host02", name, name, Status.UNREACHABLE, "x", None, "off") for name in sections]
    one, two = fold([*silent, *other])
    assert (one.host, subject(one), one.why, one.expected) == ("host01", "everything (4)", "no login", None)
    assert (two.host, two.why) == ("host02", "off")


def test_the_table_folds_unless_every_row_is_asked_for() -> None:
    assert "keyword3" not in render(SETTINGS, stream=io.StringIO())
    assert "keyword3" in render(SETTINGS, stream=io.StringIO(), every_row=True)
    assert "5 ok" in render(SETTINGS, stream=io.StringIO())
