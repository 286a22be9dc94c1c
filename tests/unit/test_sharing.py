"""Who shares the work of the tests: every name in the tables is one, and every test has one group."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import sharing
from tests.sharing import group_of, rank

TESTS = Path(__file__).resolve().parents[1]
MODULES = {
    f"{'unit/' * path.is_relative_to(TESTS / 'unit')}{path.stem.removeprefix('test_')}": path
    for path in TESTS.rglob("test_*.py")
}


def test_every_name_is_a_module_s_or_a_group_s() -> None:
    named = {*sharing._TOGETHER, *(module for module, _ in sharing._APART)}
    groups = {*sharing._TOGETHER.values(), *sharing._APART.values()}
    assert named - set(MODULES) == set()
    assert set(sharing._LONGEST) - groups - set(MODULES) == set()


def test_every_test_that_goes_apart_is_there() -> None:
    for module, name in sharing._APART:
        assert re.search(rf"^def {name}\(", MODULES[module].read_text(encoding="utf-8"), re.MULTILINE), name


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/e2e/test_up.py::test_x", "tests/e2e/test_up.py"),
        ("tests/e2e/test_up.py::test_y[a::b]", "tests/e2e/test_up.py"),
        ("tests/unit/configure/test_nmcli.py::test_x", "tests/unit/configure/test_nmcli.py"),
        ("tests/unit/timer/test_schedule.py::test_x", "labs called demo"),
        ("tests/e2e/test_schedule.py::test_x", "tests/e2e/test_schedule.py"),
        ("tests/e2e/test_vms.py::test_x", "machines"),
        ("tests/libvirt/test_choose.py::test_x", "machines"),
        ("tests/e2e/test_way_in.py::test_further_members_of_each_kind[0]", "way in, all"),
        ("tests/e2e/test_way_in.py::test_labrun_gets_in_and_the_host_is_as_it_was[arp]", None),
    ],
)
def test_the_group_of_a_test(nodeid: str, group: str | None) -> None:
    assert group_of(nodeid) == (group or "tests/e2e/test_way_in.py")


def test_what_takes_longest_comes_first() -> None:
    assert rank("tests/e2e/test_vms.py::x") < rank("tests/e2e/test_drift.py::x") < rank("tests/unit/x.py::x")
