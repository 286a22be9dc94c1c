"""Changes meant to close the way into hosts that have IPv6 alone, are behind a jump host, or have OpenRC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.attacks import IPV6, JUMP, OPENRC, Way, attacked, faults
from tests.e2e.far_lockouts import BEHIND, KINDS, RC, SIX
from tests.e2e.lockouts import Case
from tests.e2e.openrc_lockouts import KINDS as BOOT_KINDS
from tests.e2e.openrc_lockouts import RC_BOOT

pytestmark = pytest.mark.lxc

WAYS: dict[str, tuple[Way, Mapping[str, Case]]] = {
    "ipv6": (IPV6, SIX),
    "jump": (JUMP, BEHIND),
    "openrc": (OPENRC, RC),
    "openrcboot": (OPENRC, RC_BOOT),
}
SUBNETS = {"ipv6": "10.62.6", "jump": "10.62.5", "openrc": "10.225.8", "openrcboot": "10.62.48"}
ONE_OF_EACH = {**KINDS, "openrcboot": BOOT_KINDS}


@pytest.mark.parametrize(
    # OpenRC's image is built for the tests that have it, in the long run of the suite.
    "way",
    [pytest.param(way, marks=() if way == "jump" else pytest.mark.full) for way in WAYS],
)
def test_one_of_each_kind_lets_labrun_in_again(hypervisor: None, tmp_path: Path, way: str) -> None:
    _, cases = WAYS[way]
    try_them(tmp_path, way, {name: cases[name] for name in ONE_OF_EACH[way]})


@pytest.mark.full
@pytest.mark.parametrize("way", WAYS)
def test_further_members_let_labrun_in_again(hypervisor: None, tmp_path: Path, way: str) -> None:
    _, cases = WAYS[way]
    rest = {name: case for name, case in cases.items() if name not in ONE_OF_EACH[way]}
    try_them(tmp_path, way, rest)


def try_them(directory: Path, way: str, cases: Mapping[str, Case]) -> None:
    with attacked(directory, f"grd-{way}", SUBNETS[way], cases, WAYS[way][0]) as seen:
        assert faults(seen) == {}
        changed = {str(row["host"]) for row in seen.answer.rows if row["status"] == "changed"}
        assert changed >= {name for name, case in cases.items() if case.stays}, seen.answer.trouble()
        assert seen.again.exit_code == 0, seen.again.trouble()
