"""The example lab, verified: healthy, and then broken by hand in the ways that learners break it."""

from __future__ import annotations

import json
import os
import re

import pytest

from labrun.runner.engine.lock import lab_lock
from labrun.state import LabState
from tests.labs import Answer, RunningLab

HOSTS = [f"host0{number}" for number in range(5)]
LEASED = re.compile(r"10\.117\.0\.\d+")


def paths(answer: Answer) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in answer.of("path")}


def test_a_healthy_lab_has_every_row_and_every_row_ok(kvm_network_lab: RunningLab) -> None:
    answer = kvm_network_lab.json("verify")
    assert answer.exit_code == 0, answer.trouble()
    assert answer.statuses("address", "route", "path", "sysctl", "sshd") == {"ok"}
    assert set(paths(answer)) == {f"{a} -> {b}" for a in HOSTS for b in HOSTS if a != b}
    one = paths(answer)["host01 -> host03"]
    assert (one["expected"], one["actual"]) == ("10.116.0.254 10.117.0.11",) * 2
    routes = {(row["host"], row["name"]): row["expected"] for row in answer.of("route")}
    assert routes["host01", "default"] == "via 10.116.0.254"
    assert routes["host03", "10.117.0.0/24"] == "connected"
    assert ("host00", "default") not in routes
    address = answer.of("address", "host04")[0]["actual"]
    assert LEASED.match(address)
    check = answer.of("check")
    assert [(row["name"], row["status"], row["expected"], row["actual"]) for row in check] == [
        ("no-telnet", "ok", "blocked", "refused")
    ]
    assert "is not supported yet" not in answer.stderr


def test_hosts_limits_the_rows_and_unknown_names_are_refused(kvm_network_lab: RunningLab) -> None:
    answer = kvm_network_lab.json("verify", "--hosts", "host01,@router")
    assert answer.exit_code == 0, answer.trouble()
    assert {row["host"] for row in answer.rows} == {"host00", "host01"}
    refused = kvm_network_lab.json("verify", "--hosts", "host1")
    assert refused.exit_code == 2
    assert refused.document["error"] == '--hosts: unknown host "host1" (did you mean "host01"?)'


def test_forwarding_switched_off_on_the_router(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    lab.guest("host00", "sysctl -qw net.ipv4.ip_forward=0")
    try:
        answer = lab.json("verify")
        assert answer.exit_code == 1
        setting = answer.of("sysctl", "host00", "net.ipv4.ip_forward")[0]
        assert (setting["status"], setting["expected"], setting["actual"]) == ("failed", "1", "0")
        row = paths(answer)["host01 -> host03"]
        assert row["status"] == "failed"
        assert row["why"] == "host00: net.ipv4.ip_forward is 0"
        assert paths(answer)["host01 -> host02"]["status"] == "ok"
        text = lab.run("verify")
        assert text.exit_code == 1
        assert "1 cause\nx host00: net.ipv4.ip_forward is 0, expected 1\n" in text.stdout
        assert "    by hand   sudo sysctl -w net.ipv4.ip_forward=1   # on host00\n" in text.stdout
        assert re.fullmatch(r"95 ok, 9 failed, 1 unknown in .*", text.stdout.splitlines()[-1])
        first = lab.run("verify", "-v").stdout.splitlines()[4]
        assert "failed" in first, "failing rows come first"
    finally:
        mended = lab.json("configure")
    assert mended.exit_code == 0, mended.trouble()
    changed = [row for row in mended.rows if row["status"] == "changed"]
    assert [(row["host"], row["name"]) for row in changed] == [("host00", "net.ipv4.ip_forward")]
    assert lab.json("verify").exit_code == 0


@pytest.mark.full
def test_a_deleted_default_route(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    lab.guest("host01", "ip route del default")
    try:
        answer = lab.json("verify")
        assert answer.exit_code == 1
        route = answer.of("route", "host01", "default")[0]
        assert (route["status"], route["expected"], route["actual"]) == (
            "failed",
            "via 10.116.0.254",
            "absent",
        )
        assert paths(answer)["host01 -> host03"]["why"] == "host01: no route to 10.117.0.0/24"
        assert paths(answer)["host03 -> host01"]["status"] == "failed"
        assert paths(answer)["host02 -> host03"]["status"] == "ok"
    finally:
        mended = lab.json("configure", "--only", "nmcli")
    assert mended.exit_code == 0, mended.trouble()
    assert [row["host"] for row in mended.rows if row["status"] == "changed"] == ["host01"]
    assert lab.json("verify").exit_code == 0


@pytest.mark.full
def test_a_stopped_host(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    assert lab.json("stop", "--hosts", "host03").exit_code == 0
    try:
        answer = lab.json("verify")
        assert answer.exit_code == 4
        mine = [row for row in answer.rows if row["host"] == "host03"]
        assert {row["status"] for row in mine} == {"unreachable"}
        assert {row["why"] for row in mine} == {"the machine is shut off: `labrun up` starts it"}
        assert paths(answer)["host01 -> host03"]["status"] == "unreachable"
        assert paths(answer)["host01 -> host04"]["status"] == "ok"
        assert {row["host"] for row in answer.rows} == set(HOSTS)
    finally:
        again = lab.json("up")
    assert again.exit_code == 0, again.trouble()
    assert [row["host"] for row in again.of("machine") if row["status"] == "changed"] == ["host03"]
    assert lab.json("verify").exit_code == 0


def test_a_stopped_router_is_the_reason_and_forwards_again_when_started(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    assert lab.json("stop", "--hosts", "host00").exit_code == 0
    try:
        answer = lab.json("verify")
        row = paths(answer)["host01 -> host03"]
        assert row["status"] == "failed"
        assert "host00" in row["why"]
        assert answer.exit_code == 1
    finally:
        again = lab.json("up")
    assert again.exit_code == 0, again.trouble()
    # Nothing was configured in between: forwarding and addresses are what the guest kept.
    answer = lab.json("verify")
    assert answer.exit_code == 0, answer.trouble()


def test_ssh_and_exec_give_back_what_the_host_says(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    assert lab.run("ssh", "host01", "exit 7").exit_code == 7
    assert lab.run("ssh", "host01", "hostname").stdout == "host01\n"
    everywhere = lab.json("exec", "hostname")
    assert everywhere.exit_code == 0
    assert {row["host"]: row["actual"] for row in everywhere.rows} == {host: host for host in HOSTS}
    some = lab.json("--hosts", "host01,host02", "exec", "test $(hostname) = host01")
    assert some.exit_code == 1
    assert [(row["host"], row["status"]) for row in some.rows] == [("host01", "ok"), ("host02", "failed")]


def test_password_logins_are_refused_after_configure(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    effective = lab.guest("host01", "sshd -T").splitlines()
    assert "passwordauthentication no" in effective
    assert "permitrootlogin no" in effective


def test_whoever_comes_second_is_told_who_holds_the_lab(kvm_network_lab: RunningLab) -> None:
    lab = kvm_network_lab
    state = LabState.open("e2e-kvm", "lxc:///system", lab.state)
    with lab_lock(state.lock, "configure"):
        for command in (["configure"], ["up"], ["stop"], ["-y", "down"]):
            second = lab.json(*command)
            assert second.exit_code == 1
            holder = rf"pid {os.getpid()}, configure, since \d\d:\d\d:\d\d, user \w+"
            assert re.match(rf"another labrun \({holder}\) is working on this lab", second.document["error"])
        # Who only reads need not wait.
        assert lab.json("status").exit_code == 0
    assert lab.json("configure", "--hosts", "host01").exit_code == 0


def test_json_comes_alone_on_stdout(kvm_network_lab: RunningLab) -> None:
    answer = kvm_network_lab.run("verify", "--hosts", "host01", "--json")
    document = json.loads(answer.stdout)
    assert (document["schema"], document["command"], document["lab"]) == (1, "verify", "e2e-kvm")
    assert document["ok"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ-[0-9a-f]{4}", document["run"])
    keys = {"host", "section", "name", "status", "expected", "actual", "why", "diff", "seconds"}
    assert all(set(row) == keys for row in document["results"])
