"""Machines that no login leads to by the lab file: configured, verified and watched out of band."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import running_lab
from tests.e2e.guests import STATE, inside, wait_until
from tests.e2e.test_guard_window import begun, end, reach
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: e2e-nologin
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 128}
networks:
  quiet: {mode: very-isolated, cidr: 10.233.1.0/24}
  bare: {mode: isolated, cidr: 10.233.2.0/24, hypervisor_address: none}
hosts:
  one: {networks: {quiet: 10.233.1.11}, sysctl: {net.ipv4.ip_default_ttl: 70}, sshd: {MaxAuthTries: 3}}
  two: {networks: {quiet: 10.233.1.12, bare: 10.233.2.12}}
checks:
  - {name: login, from: one, to: two, tcp: 22}
"""
NO_WAY = {
    "one": "the hypervisor has no way to one: only on quiet, where the hypervisor has no address",
    "two": "the hypervisor has no way to two: only on quiet and bare, where the hypervisor has no address",
}
OUT_OF_BAND = "seen out of band"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("nologin"), LAB)


def test_it_is_configured_once(lab: RunningLab) -> None:
    first = lab.json("configure")
    assert (first.exit_code, first.statuses()) == (0, {"changed"}), first.trouble()
    assert inside("e2e-nologin-one", "cat /proc/sys/net/ipv4/ip_default_ttl").strip() == "70"
    assert "maxauthtries 3" in inside("e2e-nologin-one", "sshd -T")
    # Nobody could log in to see whether a password is asked for, and the row says so.
    rows = [row for row in first.of("sshd", "one") if row["name"] == "passwordauthentication"]
    assert [row["why"] for row in rows] == ["whether sshd asks for a password could not be tested"]
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_verify_and_drift_are_green_and_say_how_it_was_seen(lab: RunningLab) -> None:
    for command in ("verify", "drift"):
        answer = lab.json(command)
        assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.trouble()
        assert {row["host"]: row["why"] for row in answer.of("ready")} == {
            host: f"{why}: {OUT_OF_BAND}" for host, why in NO_WAY.items()
        }
        guests = [row for row in answer.rows if row["host"] in NO_WAY and row["section"] != "machine"]
        assert all(OUT_OF_BAND in row["why"] for row in guests), guests
    assert {row["actual"] for row in answer.of("path")} == {"10.233.1.11", "10.233.1.12"}


def test_what_was_changed_by_hand_is_seen_and_corrected(lab: RunningLab) -> None:
    inside("e2e-nologin-one", "sysctl -qw net.ipv4.ip_default_ttl=33")
    moved = lab.json("drift")
    (row,) = moved.bad()
    assert (moved.exit_code, row["section"], row["status"], row["actual"]) == (3, "sysctl", "drifted", "33")
    fixed = lab.json("-y", "drift", "--fix")
    assert fixed.exit_code == 0, fixed.trouble()
    assert lab.json("drift").statuses() == {"ok"}


@pytest.mark.full
def test_a_labrun_that_is_killed_leaves_a_host_that_goes_back(lab: RunningLab) -> None:
    before = inside("e2e-nologin-one", STATE)
    text = LAB.replace("MaxAuthTries: 3", "MaxAuthTries: 5")
    assert text != LAB
    other = lab.path.with_name("other.yaml")
    other.write_text(text, encoding="utf-8")
    changed = RunningLab(other, lab.state)
    process = begun(changed, "one", "configure", "--confirm-timeout", "5")
    reach(process, "confirm")
    end(process)
    wait_until("e2e-nologin-one", "[ -e /var/lib/labrun/rolled-back ] && [ ! -e /var/lib/labrun/guard ]")
    assert inside("e2e-nologin-one", STATE) == before
    assert lab.json("configure").statuses() == {"ok"}


def test_a_change_that_would_shut_out_a_login_is_none_of_its_concern(lab: RunningLab) -> None:
    text = LAB.replace(
        "MaxAuthTries: 3}", "MaxAuthTries: 3}, services: {ssh: {enabled: false, running: false}}"
    )
    other = lab.path.with_name("closed.yaml")
    other.write_text(text, encoding="utf-8")
    closed = RunningLab(other, lab.state)
    done = closed.json("--hosts", "one", "configure", "--only", "services")
    assert (done.exit_code, done.statuses()) == (0, {"changed"}), done.trouble()
    again = closed.json("--hosts", "one", "configure", "--only", "services")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_status_and_exec_say_and_use_the_same_way(lab: RunningLab) -> None:
    status = lab.json("status")
    assert status.exit_code == 0
    assert {host["name"]: host["ssh"] for host in status.document["hosts"]} == dict.fromkeys(
        NO_WAY, "out of band"
    )
    done = lab.json("exec", "id -un; hostname")
    assert {row["host"]: row["actual"] for row in done.rows} == {host: f"root\n{host}" for host in NO_WAY}
