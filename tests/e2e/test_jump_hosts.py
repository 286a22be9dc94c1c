"""Hosts that the hypervisor has no way to, behind a router, and behind a router behind that one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

URI = "lxc:///system"
LAB = """\
name: e2e-jump
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.189.1.0/24}
  mid: {mode: very-isolated, cidr: 10.189.2.0/24}
  deep: {mode: very-isolated, cidr: 10.189.3.0/24}
hosts:
  gate: {role: router, networks: {left: 10.189.1.254, mid: 10.189.2.254}}
  inner: {role: router, networks: {mid: 10.189.2.253, deep: 10.189.3.254}}
  member: {networks: {mid: 10.189.2.11}}
  far: {networks: {deep: 10.189.3.11}}
"""
_MOST_LOGINS = """\
most=0
for _ in $(seq 20); do
    now=$(ss -Htn state established sport = :22 | wc -l)
    [ "$now" -le "$most" ] || most=$now
    sleep 0.1
done
echo "$most"
"""
BEHIND = ("inner", "member", "far")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    directory = tmp_path_factory.mktemp("jump")
    made = write_lab(directory, LAB)
    try:
        up = made.json("up")
        # Seen over SSH, not from inside: the address says so.
        ready = {row["host"]: row["actual"].rpartition(" in ")[0] for row in up.of("ready")}
        assert ready == {
            "gate": "ready at 10.189.1.254",
            "inner": "ready at 10.189.2.253 through gate",
            "member": "ready at 10.189.2.11 through gate",
            "far": "ready at 10.189.3.11 through gate and inner",
        }
        configured = made.json("configure")
        assert configured.exit_code == 0, configured.trouble()
        yield made
    finally:
        made.run("-y", "down")


def changed(lab: RunningLab, directory: Path, old: str, new: str) -> RunningLab:
    """Return the same lab with another file."""
    assert old in LAB
    other = write_lab(directory / "other", LAB.replace(old, new))
    return RunningLab(other.path, lab.state)


def test_nothing_is_left_to_do_and_all_is_as_declared(lab: RunningLab) -> None:
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"})
    verified = lab.json("verify")
    assert (verified.exit_code, verified.bad()) == (0, [])
    assert {row["host"] for row in verified.of("path")} == {"gate", *BEHIND}
    assert not any("out of band" in (row["why"] or "") for row in verified.rows)


@pytest.mark.full
def test_drift_is_found_and_put_right_through_jump_hosts(lab: RunningLab) -> None:
    assert lab.json("drift").exit_code == 0
    inside("e2e-jump-far", "ip route del default")
    drift = lab.json("drift")
    drifted = {(row["host"], row["section"]) for row in drift.bad() if row["section"] != "path"}
    assert drifted == {("far", "nmcli"), ("far", "route")}, drift.trouble()
    configured = lab.json("configure")
    assert configured.exit_code == 0, configured.trouble()
    assert {row["host"] for row in configured.rows if row["status"] == "changed"} == {"far"}
    assert lab.json("configure").statuses() == {"ok"}


def test_ssh_exec_and_status_go_the_same_way(lab: RunningLab) -> None:
    for host in ("member", "far"):
        assert lab.run("ssh", host, "hostname").stdout.strip() == host
    assert lab.run("exec", "hostname").stdout.splitlines() == [
        f"{host}: {host}" for host in ("gate", *BEHIND)
    ]
    # Beside the one for its own work, a jump host has one login for all that are reached through it.
    asked = lab.json("exec", _MOST_LOGINS)
    assert {row["host"]: row["actual"] for row in asked.rows} == {
        "gate": "2",
        "inner": "2",
        "member": "1",
        "far": "1",
    }
    status = lab.json("status")
    assert status.exit_code == 0
    assert {each["name"]: (each["ssh"], each["through"]) for each in status.document["hosts"]} == {
        "gate": ("ok", []),
        "inner": ("ok", ["gate"]),
        "member": ("ok", ["gate"]),
        "far": ("ok", ["gate", "inner"]),
    }


@pytest.mark.full
def test_exports_lead_ssh_there(lab: RunningLab, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(lab.run("inventory", "--format", "ssh-config").stdout, encoding="utf-8")
    pid = daemon_pid(URI)
    assert pid is not None
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ssh", "-F", str(config), "far", "hostname"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.strip() == "far", done.stderr
    exported = json.loads(lab.run("inventory", "--format", "json").stdout)
    assert {each["name"]: each["through"] for each in exported["hosts"]}["far"] == ["gate", "inner"]


@pytest.mark.parametrize("liar", ["gate", "far"])
def test_another_host_key_on_either_hop_is_refused(lab: RunningLab, liar: str) -> None:
    known = next(lab.state.glob("*/known_hosts"))
    before = known.read_text(encoding="utf-8")
    keys = {line.split()[0].split(",")[0]: line.split(maxsplit=1)[1] for line in before.splitlines()}
    wrong = next(key for name, key in keys.items() if name == "member")
    lines = [
        f"{line.split()[0]} {wrong}" if line.split()[0].split(",")[0] == liar else line
        for line in before.splitlines()
    ]
    known.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        answer = lab.json("--hosts", "far", "exec", "hostname")
        (row,) = answer.rows
        assert (answer.exit_code, row["status"]) == (4, "unreachable")
        said = "its host key is not the one on record: "
        assert (f"its jump host gate: {said}" if liar == "gate" else f"host key: {said}") in row["why"]
        assert lab.run("ssh", "far", "hostname").exit_code == 255
    finally:
        known.write_text(before, encoding="utf-8")


@pytest.mark.full
def test_a_change_that_cuts_those_behind_is_rolled_back(lab: RunningLab, tmp_path: Path) -> None:
    # Not for whoever is logged in already, and it says nothing about the login to the jump host itself.
    gate = "mid: 10.189.2.254}}"
    worse = changed(lab, tmp_path, gate, "mid: 10.189.2.254}, sshd: {PermitOpen: none}}")
    answer = worse.json("--hosts", "gate", "configure")
    assert answer.exit_code != 0
    back = [row for row in answer.rows if row["status"] == "rolled-back"]
    assert "reached through this host, inner, member no longer answer" in str(back), answer.rows
    assert lab.run("--hosts", "far", "exec", "hostname").stdout == "far: far\n"


def test_the_file_may_name_the_jump_host(lab: RunningLab, tmp_path: Path) -> None:
    member = "{networks: {mid: 10.189.2.11}"
    via = changed(lab, tmp_path, member, f"{member}, access: {{via: inner}}")
    came_from = via.run("ssh", "member", "echo $SSH_CONNECTION").stdout.split()
    assert (came_from[0], came_from[2]) == ("10.189.2.253", "10.189.2.11")
    answer = via.json("exec", "echo $SSH_CONNECTION")
    assert {row["host"]: row["actual"].split()[0] for row in answer.rows if row["host"] != "gate"} == {
        "inner": "10.189.2.254",
        "member": "10.189.2.253",
        "far": "10.189.3.254",
    }


@pytest.mark.full
def test_a_new_address_behind_a_jump_host_is_kept(lab: RunningLab, tmp_path: Path) -> None:
    moved = changed(lab, tmp_path, "deep: 10.189.3.11", "deep: 10.189.3.12")
    try:
        answer = moved.json("configure")
        assert answer.exit_code == 0, answer.trouble()
        assert moved.run("--hosts", "far", "exec", "hostname").stdout == "far: far\n"
        assert moved.json("configure").statuses() == {"ok"}
    finally:
        back = lab.json("configure")
    assert back.exit_code == 0, back.trouble()


def test_without_its_jump_host_a_host_is_seen_from_inside(lab: RunningLab) -> None:
    inside("e2e-jump-gate", "systemctl stop ssh.socket ssh")
    try:
        answer = lab.json("verify")
        assert answer.exit_code == 4, answer.trouble()
        ready = {row["host"]: row["why"] for row in answer.of("ready") if row["status"] == "unreachable"}
        assert set(ready) == {"gate", *BEHIND}
        for host in BEHIND:
            assert "its jump host gate: 10.189.1.254 port 22 refused the connection" in ready[host]
        assert {row["status"] for row in answer.of("address", "far")} == {"ok"}
        assert all("seen out of band" in row["why"] for row in answer.of("address", "far"))
    finally:
        inside("e2e-jump-gate", "systemctl start ssh")
        wait_until("e2e-jump-gate", "systemctl is-active --quiet ssh")
    assert lab.json("verify").exit_code == 0


@pytest.mark.full
def test_up_does_not_wait_for_a_jump_host_that_is_off(lab: RunningLab) -> None:
    lab.run("--hosts", "gate", "stop")
    try:
        up = lab.json("--hosts", "far", "up")
        (ready,) = up.of("ready")
        assert (up.exit_code, ready["status"]) == (0, "ok")
        assert ready["why"] == (
            "the hypervisor has no way to far: its jump host gate is not running: seen out of band"
        ), ready
        assert ready["seconds"] < 90
    finally:
        assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_up_gives_up_a_host_whose_jump_host_does_not_get_ready(lab: RunningLab) -> None:
    inside("e2e-jump-gate", "systemctl stop ssh.socket ssh")
    try:
        up = lab.json("--hosts", "gate,member", "up")
        assert up.exit_code == 4
        ready = {row["host"]: row["why"].splitlines()[0] for row in up.of("ready")}
        assert ready["gate"].startswith("sshd is not running")
        assert ready["member"].startswith(
            "its jump host gate is not ready; seen out of band, over SSH: no login"
        )
    finally:
        inside("e2e-jump-gate", "systemctl start ssh")
        wait_until("e2e-jump-gate", "systemctl is-active --quiet ssh")
