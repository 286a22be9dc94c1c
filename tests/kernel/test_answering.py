"""Hosts behind a router, asked over a kernel's own routes and neighbours, in network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests import places
from tests.kernel.answering_scene import CHATTY, FAR, FAR6, NOBODY, OTHER, ROUTER, ROUTER6, SILENT, SPEAKS

ROOT = places.ROOT


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernel.answering_scene"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_kernel_says_who_is_on_the_link_and_who_is_not(seen: dict[str, Any]) -> None:
    assert seen["leads"].pop("name")[0] is True
    assert seen["leads"] == {
        "r": [True, "None", "10.0.0.1"],
        "r6": [True, "None", "fd00::1"],
        "far": [True, ROUTER, "10.0.0.1"],
        "far6": [True, ROUTER6, "fd00::1"],
        "nowhere": [False, "None", "None"],
    }


@pytest.mark.parametrize("address", [ROUTER, ROUTER6, FAR, FAR6])
def test_only_an_ssh_server_answers(seen: dict[str, Any], address: str) -> None:
    found = {port: seen["answers"][f"{address} {port}"] for port in (SPEAKS, CHATTY, SILENT, OTHER, NOBODY)}
    assert found == {SPEAKS: True, CHATTY: True, SILENT: False, OTHER: False, NOBODY: False}


def test_those_that_answer_are_told_from_those_that_do_not(seen: dict[str, Any]) -> None:
    assert seen["answering"] == ["r", "far", "far6"]


def test_a_host_that_only_a_cache_still_reaches_is_silent_once_that_is_forgotten(
    seen: dict[str, Any],
) -> None:
    assert seen["cached"] == [True, True]
    assert seen["forgotten"] == [False, True]
    assert seen["forgotten6"] is False
    assert seen["heard again"] == []


def test_forgetting_needs_root_and_a_neighbour_and_takes_nobody_elses(seen: dict[str, Any]) -> None:
    assert seen["nobody"] == 0
    assert seen["still cached"] is True
    assert seen["others forgotten"] is True


def test_an_entry_made_by_hand_stays(seen: dict[str, Any]) -> None:
    assert seen["kept"] == {address: [True, False] for address in ("10.0.0.77", "fd00::77", "fe80::77")}


def test_who_is_cut_off_is_named_and_who_comes_back_in_time_is_not(seen: dict[str, Any]) -> None:
    assert seen["cut off"] == ["far"]
    assert seen["answers again"] == []
