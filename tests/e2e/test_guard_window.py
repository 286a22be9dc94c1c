"""What may happen between a change and its confirmation: deaths, cuts, rivals; and a host that moves."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.e2e.guests import STATE, inside, wait_until
from tests.e2e.test_existing_machines import Inside
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

HOSTS = {
    "gather": 11,
    "apply": 12,
    "confirm": 13,
    "rivals": 14,
    "power": 15,
    "link": 16,
    "moves": 17,
    "stopped": 18,
    "stuck": 19,
    "here": 20,
    "there": 21,
}
GUARD = "/var/lib/labrun/guard"
MADE = f"[ -e {GUARD}/changed ]"
LOCKOUT = "sshd: {AllowUsers: lab@192.0.2.1}"
AWAY = "10.99.0.5/24"
# What these send from an address that the file gives another host arrives.
FREE = ("here", "there")


def on_left(host: str, number: int) -> str:
    allow = ", spoofing: allow" if host in FREE else ""
    return f"networks: {{left: {{ipv4: 10.60.2.{number}{allow}}}}}"


def text(**bad: str) -> str:
    """Return the lab file; a host that is named has this description beside its address."""
    lines = [
        "name: grd-window",
        "hypervisor: lxc:///system",
        "defaults: {image: debian-12, memory: 128}",
        "networks: {left: {mode: isolated, cidr: 10.60.2.0/24}}",
        "hosts:",
    ]
    for host, number in HOSTS.items():
        nic = on_left(host, number)
        lines.append(f"  {host}: {{{bad.get(host, nic).replace('NIC', nic)}}}")
    return "\n".join(lines) + "\n"


def nic(host: str, properties: str) -> str:
    return f"networks: {{left: {{ipv4: 10.60.2.{HOSTS[host]}, nmcli: {{{properties}}}}}}}"


def domain(host: str) -> str:
    return f"grd-window-{host}"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("window"), text())
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def with_bad(lab: RunningLab, **bad: str) -> RunningLab:
    """Return the same lab with other descriptions of some hosts."""
    described = text(**bad)
    path = lab.path.with_name(f"bad-{hashlib.sha256(described.encode()).hexdigest()[:8]}.yaml")
    path.write_text(described, encoding="utf-8")
    return RunningLab(path, lab.state)


def state(host: str) -> str:
    return inside(domain(host), STATE)


def begun(lab: RunningLab, host: str, *words: str) -> subprocess.Popen[str]:
    """Start to configure one host; its progress comes on stderr, but with --json."""
    arguments = lab.arguments("-v", "--hosts", host, *words)
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, env=lab.environment(), stdout=pipe, stderr=pipe, text=True)


def reach(process: subprocess.Popen[str], stage: str) -> None:
    """Read the progress until a stage begins."""
    assert process.stderr is not None
    for line in process.stderr:
        if f": {stage}" in line:
            return
    raise AssertionError(f"it ended before {stage}")


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def slow_down(host: str, seconds: int) -> None:
    """Have a host take so long to load profiles: /usr/local/bin comes first for sudo."""
    script = f"""#!/bin/sh
case "$*" in *LoadConnections*) sleep {seconds};; esac
exec /usr/bin/busctl "$@"
"""
    path = "/usr/local/bin/busctl"
    inside(domain(host), f"printf %s {shlex.quote(script)} >{path} && chmod 755 {path}")


def test_a_labrun_that_is_killed_leaves_a_host_that_goes_back(lab: RunningLab) -> None:
    slow_down("apply", 2)
    before = {host: state(host) for host in ("gather", "apply", "confirm")}
    search = "ipv4.dns-search: x.example"
    bad = with_bad(lab, **{host: f"{nic(host, search)}, sshd: {{MaxSessions: 7}}" for host in before})

    process = begun(bad, "gather", "configure", "--confirm-timeout", "5")
    reach(process, "gather")
    end(process)

    process = begun(bad, "apply", "configure", "--confirm-timeout", "5")
    wait_until(domain("apply"), f"[ -e {GUARD}/armed ]")
    end(process)
    assert inside(domain("apply"), f"cat {GUARD}/applying") != "", "it should still be at work"

    process = begun(bad, "confirm", "configure", "--confirm-timeout", "5")
    reach(process, "confirm")
    end(process)

    for host in before:
        wait_until(domain(host), f"[ ! -e {GUARD} ]")
    assert {host: state(host) for host in before} == before
    records = {host: inside(domain(host), "cat /var/lib/labrun/rolled-back") for host in before}
    assert records["gather"] == ""
    assert records["apply"].split()[1:] == ["timer"]
    assert records["confirm"].split()[1:] == ["timer"]
    inside(domain("apply"), "rm /usr/local/bin/busctl")
    again = lab.json("--hosts", ",".join(before), "configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_a_script_that_is_still_at_work_is_ended_before_its_change_is_taken_back(lab: RunningLab) -> None:
    slow_down("stuck", 591)
    before = state("stuck")
    bad = with_bad(lab, stuck=nic("stuck", f"ipv4.addresses: {AWAY}"))
    process = begun(bad, "stuck", "configure")
    wait_until(domain("stuck"), "pgrep -fx 'sleep 591'")
    end(process)
    run = inside(domain("stuck"), f"head -n 1 {GUARD}/owner").strip()
    assert inside(domain("stuck"), "pgrep -fx 'sleep 591'") != "", "what was begun is not cut off with labrun"
    inside(domain("stuck"), f"sh {GUARD}/undo now {run}")
    wait_until(domain("stuck"), f"[ ! -e {GUARD} ]")
    assert inside(domain("stuck"), "pgrep -fx 'sleep 591'") == ""
    assert inside(domain("stuck"), f"ls {GUARD}") == ""
    assert state("stuck") == before
    inside(domain("stuck"), "rm /usr/local/bin/busctl")
    again = lab.json("--hosts", "stuck", "configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_a_host_that_loses_its_power_goes_back_before_the_network_starts(lab: RunningLab) -> None:
    before = state("power")
    bad = with_bad(lab, power=f"{nic('power', f'ipv4.addresses: {AWAY}')}, {LOCKOUT}")
    process = begun(bad, "power", "configure", "--confirm-timeout", "600")
    wait_until(domain("power"), MADE)
    end(process)
    assert "10.99.0.5" in inside(domain("power"), "ip address")
    for action in ("destroy", "start"):
        subprocess.run(["virsh", "-q", "-c", "lxc:///system", action, domain("power")], check=True)
    up = lab.json("--hosts", "power", "up")
    assert up.exit_code == 0, up.trouble()
    assert state("power") == before
    assert inside(domain("power"), "cat /var/lib/labrun/rolled-back").split()[1:] == ["boot"]
    again = lab.json("--hosts", "power", "configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


@pytest.mark.full
def test_a_link_that_goes_down_under_the_change_is_waited_for(lab: RunningLab) -> None:
    before = state("link")
    rules = "add table inet cut; add chain inet cut in { type filter hook input priority -300; policy drop; }"
    cut = f"until [ -e {GUARD}/changed ]; do sleep 0.02; done; nft '{rules}'"
    mend = f"while [ -e {GUARD} ]; do sleep 0.1; done; nft delete table inet cut"
    lab.guest("link", f"systemd-run --quiet --collect sh -c {json.dumps(f'{cut}; {mend}')}")
    bad = with_bad(lab, link=f"{nic('link', 'ipv4.dns-search: x.example')}, sshd: {{MaxSessions: 7}}")
    answer = bad.json("--hosts", "link", "configure", "--confirm-timeout", "5")
    assert answer.exit_code == 1
    assert answer.statuses() == {"ok", "rolled-back"}, answer.rows
    for row in answer.bad():
        # It may be cut before the new login or under it.
        assert re.fullmatch("(no new login|the new login was lost: ).*; the host rolled back", row["why"]), (
            row["why"]
        )
    assert state("link") == before


@pytest.mark.full
def test_ctrl_c_waits_until_the_host_has_gone_back(lab: RunningLab) -> None:
    before = state("stopped")
    bad = with_bad(lab, stopped=nic("stopped", f"ipv4.addresses: {AWAY}"))
    process = begun(bad, "stopped", "--json", "configure", "--confirm-timeout", "5")
    wait_until(domain("stopped"), MADE)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    rows = {row["status"] for row in json.loads(out)["results"]}
    assert rows == {"ok", "rolled-back"}, out
    assert state("stopped") == before


def other_lab(lab: RunningLab, directory: Path, name: str, more: str) -> Inside:
    """Return a lab of somebody else's in which the host is an existing machine."""
    (keys,) = lab.state.glob("grd-window-*")
    ssh = {"user": "lab", "identity": str(keys / "id_ed25519"), "known_hosts": str(keys / "known_hosts")}
    lines = [
        f"name: {name}",
        "networks: {left: {cidr: 10.60.2.0/24}}",
        "hosts:",
        f"  rivals: {{address: 10.60.2.{HOSTS['rivals']}, ssh: {json.dumps(ssh)}, {more}}}",
    ]
    made = write_lab(directory / name, "\n".join(lines) + "\n")
    pid = daemon_pid("lxc:///system")
    assert pid is not None
    return Inside(made.path, made.state, pid=pid)


def test_two_labruns_do_not_meet_on_a_host_and_what_one_left_is_cleared(
    lab: RunningLab, tmp_path: Path
) -> None:
    before = state("rivals")
    first = other_lab(lab, tmp_path, "grd-first", "sshd: {MaxSessions: 7}")
    process = begun(first, "rivals", "configure", "--confirm-timeout", "600")
    reach(process, "confirm")
    wait_until(domain("rivals"), MADE)
    process.send_signal(signal.SIGSTOP)
    second = other_lab(lab, tmp_path, "grd-second", "sshd: {MaxSessions: 8}")
    answer = second.json("configure")
    assert answer.exit_code == 1
    (row,) = answer.of("sshd", "rivals", "maxsessions")
    held = (
        r"nothing was changed: labrun \(pid [0-9]+ of root on .+\) is changing this host "
        r"and has [0-9]+ s left to confirm that"
    )
    assert re.fullmatch(held, row["why"]), row["why"]
    borrowed = r"run [^ ]+ has [0-9]+ s left to confirm its change, or the host rolls back"
    dry = second.json("configure", "--dry-run")
    assert {row["status"] for row in dry.rows} == {"unknown"}
    assert all(re.fullmatch(borrowed, row["why"]) for row in dry.rows), dry.rows
    # What is as declared only for as long as the other run may confirm it is not as declared.
    same = other_lab(lab, tmp_path, "grd-third", "sshd: {MaxSessions: 7}")
    for words in (("configure",), ("verify",), ("drift",)):
        answer = same.json(*words)
        assert "ok" not in answer.statuses(), (words, answer.rows)
        found = [row for row in answer.rows if row["section"] in ("sshd", "guard")]
        assert {row["status"] for row in found} == {"unknown"}, (words, found)

    # It dies, and nobody will confirm that any more.
    end(process)
    answer = second.json("configure")
    assert answer.exit_code == 0, answer.trouble()
    (row,) = answer.of("guard")
    assert row["status"] == "warning"
    assert row["why"] == "its unconfirmed change was rolled back first"
    (row,) = answer.of("sshd", "rivals", "maxsessions")
    assert (row["status"], row["actual"]) == ("changed", "8")
    assert second.json("configure").statuses() == {"ok"}
    assert lab.json("--hosts", "rivals", "configure").exit_code == 0
    assert state("rivals") == before


@pytest.mark.full
def test_a_host_that_gets_another_address_is_followed(lab: RunningLab) -> None:
    moved = with_bad(lab, moves="networks: {left: 10.60.2.27}")
    up = moved.json("--hosts", "moves", "up")
    assert up.exit_code == 0, up.trouble()
    (row,) = up.of("ready", "moves")
    assert row["why"] == "that is its former address; `labrun configure` gives it 10.60.2.27"
    done = moved.json("--hosts", "moves", "configure")
    assert done.exit_code == 0, done.trouble()
    (row,) = done.of("nmcli", "moves")
    assert (row["status"], row["actual"]) == ("changed", "10.60.2.27/24")
    again = moved.json("--hosts", "moves", "configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"})
    # A second move goes wrong: it comes back to where it was, which is not in the file any more.
    wrong = f"networks: {{left: {{ipv4: 10.60.2.37, nmcli: {{ipv4.addresses: {AWAY}}}}}}}"
    lost = with_bad(lab, moves=wrong).json("--hosts", "moves", "configure", "--confirm-timeout", "6")
    assert {row["status"] for row in lost.of("nmcli", "moves")} == {"rolled-back"}, lost.rows
    again = moved.json("--hosts", "moves", "configure")
    # /etc/hosts cuts nobody off and had stayed.
    assert again.exit_code == 0, again.trouble()
    assert again.statuses("nmcli") == {"ok"}, again.of("nmcli")


def configured(lab: RunningLab, **numbers: int) -> Answer:
    """Bring hosts up and configure them with other addresses."""
    other = with_bad(lab, **{host: on_left(host, number) for host, number in numbers.items()})
    up = other.json("--hosts", ",".join(numbers), "up")
    assert up.exit_code == 0, up.trouble()
    return other.json("--hosts", ",".join(numbers), "configure")


@pytest.mark.full
def test_an_address_that_another_host_has_is_not_taken(lab: RunningLab) -> None:
    before = {host: state(host) for host in ("here", "there")}
    swap = configured(lab, here=HOSTS["there"], there=HOSTS["here"])
    assert swap.exit_code == 1
    why = "{0} still has 10.60.2.{1}: configure {0} first; a swap needs a free address in between"
    assert {(row["host"], row["why"]) for row in swap.of("nmcli")} == {
        ("here", why.format("there", HOSTS["there"])),
        ("there", why.format("here", HOSTS["here"])),
    }
    assert {host: state(host) for host in before} == before
    assert lab.json("--hosts", "here,there", "configure").statuses() == {"ok", "changed"}


@pytest.mark.full
def test_hosts_that_cannot_use_the_former_addresses_are_given_theirs_by_up(lab: RunningLab) -> None:
    swapped = {"gather": HOSTS["confirm"], "confirm": HOSTS["gather"]}
    for numbers in (swapped, {host: HOSTS[host] for host in swapped}):
        done = configured(lab, **numbers)
        assert (done.exit_code, done.statuses("nmcli")) == (0, {"ok"}), done.trouble()
        for host, number in numbers.items():
            assert f" 10.60.2.{number}/24" in inside(domain(host), "ip -brief -4 address show dev eth0")
    again = configured(lab, **numbers)
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


@pytest.mark.full
def test_a_swap_by_way_of_a_free_address_works(lab: RunningLab) -> None:
    here, there = HOSTS["here"], HOSTS["there"]
    assert configured(lab, here=29, there=here).statuses("nmcli") == {"changed", "failed"}
    for _ in range(2):
        moved = configured(lab, here=there, there=here)
    assert moved.exit_code == 0, moved.trouble()
    for host, number in (("here", there), ("there", here)):
        assert f" 10.60.2.{number}/24" in inside(domain(host), "ip -brief -4 address show dev eth0")
    again = configured(lab, here=there, there=here)
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
