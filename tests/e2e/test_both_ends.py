"""A subnet that moves behind a router: router and host can only follow together, or neither of them does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import configured_lab, write_lab
from tests.e2e.guests import inside
from tests.labs import Answer, RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

TEXT = """\
name: e2e-bothends
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.196.63.0/24}
  mid: {mode: very-isolated, cidr: 10.196.64.0/24}
hosts:
  gate: {role: router, networks: {left: 10.196.63.254, mid: 10.196.64.254}}
  member: {networks: {mid: 10.196.64.11}}
  other: {networks: {mid: 10.196.64.12}}
"""
BEHIND = ("member", "other")
# The first attempt is rolled back before the second begins.
SLOW = ("--timeout", "300")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with configured_lab(tmp_path_factory.mktemp("bothends"), TEXT) as made:
        yield made


def moved(lab: RunningLab, to: int, *, old: str = "", new: str = "") -> RunningLab:
    """Return the same lab with the subnet behind the router elsewhere."""
    assert old in TEXT
    text = TEXT.replace(old, new).replace("10.196.64.", f"10.196.{to}.")
    return RunningLab(write_lab(lab.path.parent / f"to-{to}", text).path, lab.state)


def addresses(lab: RunningLab) -> dict[str, str]:
    """Return what each host has, by other commands than labrun's own."""
    script = "ip -4 -brief address show scope global; ip route"
    return {host: inside(f"e2e-bothends-{host}", script) for host in ("gate", *BEHIND)}


def back(answer: Answer) -> dict[str, str]:
    """Return why each host rolled back."""
    rows = [row for row in answer.rows if row["status"] == "rolled-back"]
    return {row["host"]: row["why"] for row in rows}


def test_both_follow_in_one_run_and_a_second_one_changes_nothing(lab: RunningLab) -> None:
    for there, subnet in ((moved(lab, 65), "10.196.65."), (lab, "10.196.64.")):
        configured = there.json(*SLOW, "configure")
        assert configured.exit_code == 0, configured.trouble()
        for host in ("gate", *BEHIND):
            (row,) = configured.of("nmcli", host, "mid")
            assert (row["status"], row["actual"].startswith(subnet)) == ("changed", True), row
            assert subnet in addresses(there)[host]
        again = there.json("configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_the_router_alone_does_not_leave_those_behind_it(lab: RunningLab) -> None:
    before = addresses(lab)
    answer = moved(lab, 65).json(*SLOW, "--hosts", "gate", "configure")
    assert answer.exit_code == 1
    assert "reached through this host, member, other no longer answer" in back(answer)["gate"], answer.rows
    assert addresses(lab) == before


def test_one_that_is_not_good_takes_the_others_back(lab: RunningLab) -> None:
    before = addresses(lab)
    bad = moved(lab, 65, old="mid: 10.196.64.11}}", new="mid: 10.196.64.11}, gateway: 10.196.64.99}")
    answer = bad.json(*SLOW, "configure", "--confirm-timeout", "30")
    assert answer.exit_code == 1
    why = back(answer)
    assert "the gateway 10.196.65.99 does not answer" in why["member"], why
    assert "must change at the same time, could not be confirmed" in why["gate"], why
    assert addresses(lab) == before
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
