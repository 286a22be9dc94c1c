"""A running lab grows behind its routers: these have to be configured before others can be reached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

BEFORE = """\
name: e2e-turn
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.211.1.0/24}
  mid: {mode: very-isolated, cidr: 10.211.2.0/24}
hosts:
  gate: {role: router, networks: {left: 10.211.1.254, mid: 10.211.2.254}}
  inner: {role: router, networks: {mid: 10.211.2.253}}
"""
AFTER = """\
name: e2e-turn
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.211.1.0/24}
  mid: {mode: very-isolated, cidr: 10.211.2.0/24}
  near: {mode: very-isolated, cidr: 10.211.3.0/24}
  deep: {mode: very-isolated, cidr: 10.211.4.0/24}
hosts:
  gate: {role: router, networks: {left: 10.211.1.254, mid: 10.211.2.254, near: 10.211.3.254}}
  inner: {role: router, networks: {near: 10.211.3.253, deep: 10.211.4.254}}
  far: {networks: {deep: 10.211.4.11}}
"""
NOT_YET = "which leads to it, does not have 10.211.3.254 on near yet: `labrun configure` sets it"
# Where the wait ends only with its limit, it takes 120 s.
SOON = 100.0


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("turn"), BEFORE, "--configure")


def ready(lab: RunningLab, *words: str) -> dict[str, tuple[str, str]]:
    """Return the status and the reason, or where it answers, of each host that `up` waited for."""
    up = lab.json("up", *words)
    assert all(row["seconds"] < SOON for row in up.of("ready")), up.of("ready")
    return {
        row["host"]: (row["status"], row["why"] or row["actual"].rpartition(" in ")[0])
        for row in up.of("ready")
    }


def test_a_host_behind_what_is_not_configured_is_configured_in_its_turn(lab: RunningLab) -> None:
    lab.path.write_text(AFTER, encoding="utf-8")
    alone = ready(lab)
    assert alone["gate"][0] == "pending"
    assert alone["inner"] == ("pending", f"gate, {NOT_YET}")
    assert alone["far"] == ("pending", "inner, which leads to it, is not configured yet")

    up = lab.json("up", "--verify")
    assert up.exit_code == 0, up.trouble()
    seen = {row["host"]: row for row in up.of("ready")}
    # One row each, that of the wait that succeeded.
    assert len(up.of("ready")) == len(seen) == 3
    assert {row["status"] for row in seen.values()} == {"ok"}
    assert seen["inner"]["actual"].startswith("ready at 10.211.3.253 through gate in ")
    assert seen["far"]["actual"].startswith("ready at 10.211.4.11 through gate and inner in ")
    assert all(row["seconds"] < SOON for row in seen.values()), seen
    # A new machine has its address from its first boot, but neither names nor hardening.
    changed = {(row["host"], row["section"]) for row in up.rows if row["status"] == "changed"}
    assert changed >= {("gate", "nmcli"), ("inner", "sshd"), ("far", "hosts"), ("far", "sshd")}, up.rows


def test_a_second_run_changes_nothing(lab: RunningLab) -> None:
    up = lab.json("up", "--configure")
    assert up.statuses() == {"ok"}, up.trouble()
    assert {row["host"] for row in up.of("sysctl")} == {"gate", "inner"}
    assert len(up.of("ready")) == 3
