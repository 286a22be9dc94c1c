"""A NIC, network, subnet, name or MAC that the file changes: running hosts follow, and answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import RunningLab

LAB = "e2e-moved"
TEXT = f"""\
name: {LAB}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks:
  in: {{cidr: 10.166.10.0/24}}
  out: {{cidr: 10.166.11.0/24}}
hosts:
  r: {{role: router, networks: {{in: 10.166.10.254, out: 10.166.11.254}}}}
  a: {{networks: {{in: 10.166.10.11}}}}
  b: {{networks: {{out: dhcp}}}}
"""
A = "a: {networks: {in: 10.166.10.11}}"
B = "b: {networks: {out: dhcp}}"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The lab as in TEXT, up and configured; tests put it back."""
    lab = write_lab(tmp_path_factory.mktemp("moved"), TEXT)
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr


MOVES = {
    "NIC to another network": TEXT.replace(B, "b: {networks: {in: 10.166.10.12}}"),
    "MAC": TEXT.replace(A, 'a: {networks: {in: {ipv4: 10.166.10.11, mac: "02:00:00:00:99:01"}}}'),
    "subnet": TEXT.replace("10.166.10.", "10.166.20."),
    "subnet of a lease": TEXT.replace("10.166.11.", "10.166.21."),
    "network renamed": TEXT.replace("out:", "outer:"),
    "subnet of a network that was renamed": TEXT.replace("in:", "inner:").replace("10.166.10.", "10.166.30."),
    "address": TEXT.replace("in: 10.166.10.11", "in: 10.166.10.77"),
    "static and leased": TEXT.replace(B, "b: {networks: {out: 10.166.11.9}}"),
}


# Each of these has another of its kind among the others.
FURTHER = (
    *("subnet of a lease", "subnet of a network that was renamed", "address", "static and leased"),
    *("MAC", "network renamed"),
)


@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=pytest.mark.full if each in FURTHER else ()) for each in MOVES]
)
def test_what_moves_is_followed_by_running_hosts(lab: RunningLab, kind: str) -> None:
    """Each change is made after the one before, which is taken back by it."""
    lab.path.write_text(MOVES[kind], encoding="utf-8")
    plan = lab.json("plan", "--prune")
    assert plan.exit_code == 3, plan.rows
    up = lab.json("-y", "up", "--prune", "--configure")
    assert up.exit_code == 0, up.trouble()
    assert lab.json("plan", "--prune").exit_code == 0
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
    second = lab.json("up", "--configure")
    assert second.statuses() <= {"ok", "skipped"}, second.bad() or second.rows


@pytest.mark.full
def test_they_still_answer_after_a_restart(lab: RunningLab) -> None:
    assert lab.json("restart").exit_code == 0
    assert lab.json("up").exit_code == 0
    lab.path.write_text(TEXT, encoding="utf-8")
    back = lab.json("-y", "up", "--prune", "--configure")
    assert back.exit_code == 0, back.trouble()


@pytest.mark.full
def test_a_subnet_that_changes_while_the_lab_is_off(lab: RunningLab) -> None:
    for text in (MOVES["subnet"], TEXT):
        assert lab.json("stop").exit_code == 0
        lab.path.write_text(text, encoding="utf-8")
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
    assert lab.json("configure").exit_code == 0


@pytest.mark.full
def test_a_nic_more_is_pending_until_configure_sets_it(lab: RunningLab) -> None:
    lab.path.write_text(
        TEXT.replace(A, "a: {networks: {in: 10.166.10.11, out: 10.166.11.11}}"), encoding="utf-8"
    )
    up = lab.json("up")
    assert up.exit_code == 3
    row = up.of("ready", "a")[0]
    assert row["status"] == "pending"
    assert row["why"].endswith("has no address: `labrun configure` sets it")
    # Whatever another host lacks, those that are ready are configured.
    inside(f"{LAB}-b", "systemctl mask --now --quiet ssh.service")
    both = lab.json("up", "--configure", "--timeout", "20")
    assert both.exit_code == 4
    assert both.of("ready", "a")[0]["status"] == "ok"
    assert both.of("ready", "b")[0]["status"] == "unreachable"
    assert {row["host"] for row in both.of("nmcli")} == {"a", "r"}
    assert both.of("nmcli", "a", "out")[0]["status"] == "changed"
    inside(f"{LAB}-b", "systemctl unmask --quiet ssh.service; systemctl start ssh.service")
    lab.path.write_text(TEXT, encoding="utf-8")
    assert lab.json("up", "--configure").exit_code == 0


@pytest.mark.full
def test_recreate_keeps_all_that_are_on_a_changed_network(lab: RunningLab) -> None:
    lab.path.write_text(TEXT.replace("10.166.10.", "10.166.20."), encoding="utf-8")
    answer = lab.json("-y", "up", "--recreate", "--hosts", "a", "--no-wait")
    row = answer.of("network", name="in")[0]
    assert (row["status"], row["why"]) == (
        "pending",
        "it has to be restarted, which would cut off r: name r in --hosts as well, then `labrun up`",
    )
    ready = answer.of("ready", "a")[0]
    assert (ready["status"], ready["why"]) == ("pending", "the network in is not as the file says yet")
    lab.path.write_text(TEXT, encoding="utf-8")
    assert lab.json("-y", "up", "--recreate", "--hosts", "a", "--configure").exit_code == 0
