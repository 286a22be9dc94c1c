"""A VM as jump host and one behind it: every way in, captures, slow links, causes, NICs that come and go."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

TEXT = """\
name: e2e-vmchain
hypervisor: qemu:///system
defaults: {memory: 384}
networks:
  left: {mode: isolated, cidr: 10.212.1.0/24}
  deep: {mode: very-isolated, cidr: 10.212.2.0/24}
hosts:
  gate: {role: router, networks: {left: 10.212.1.254, deep: 10.212.2.254}}
  far: {networks: {deep: 10.212.2.11}}
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "400")
BOTH = {"gate": "gate", "far": "far"}


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """Both are up and configured, and every test leaves them so."""
    made = write_lab(tmp_path_factory.mktemp("chain"), TEXT)
    try:
        up = made.json(*SLOW, "up")
        assert up.exit_code == 0, up.trouble()
        ready = {row["host"]: row["actual"].rpartition(" in ")[0] for row in up.of("ready")}
        assert ready == {"gate": "ready at 10.212.1.254", "far": "ready at 10.212.2.11 through gate"}
        configured = made.json(*SLOW, "configure")
        assert configured.exit_code == 0, configured.trouble()
        yield made
    finally:
        made.run("-y", "down")


def said(lab: RunningLab, *words: str) -> dict[str, str]:
    """Return what a command printed on each host."""
    answer = lab.json(*SLOW, "exec", *words)
    assert answer.exit_code == 0, answer.trouble()
    return {row["host"]: row["actual"] for row in answer.rows}


def test_one_behind_another_is_reached_in_every_way(lab: RunningLab) -> None:
    assert lab.guest("far", "hostname").strip() == "far"
    for via in ("ssh", "agent", "console"):
        assert said(lab, "--via", via, "hostname") == BOTH
    again = lab.json(*SLOW, "configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    verified = lab.json(*SLOW, "verify")
    assert (verified.exit_code, verified.bad()) == (0, [])
    assert not any("out of band" in (row["why"] or "") for row in verified.rows)


def test_its_console_is_logged_in_by_itself_and_ends_with_its_key(lab: RunningLab) -> None:
    ours, theirs = os.openpty()
    words = lab.arguments("console", "far")
    with subprocess.Popen(
        words, env=lab.environment(), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            _until(ours, b"Ctrl-] ends")
            os.write(ours, b"echo marker-$((40+2))\r")
            _until(ours, b"marker-42")
            os.write(ours, b"\x1d")
            assert process.wait(120) == 0
        finally:
            process.kill()
            os.close(ours)


def _until(terminal: int, text: bytes, seconds: float = 240.0) -> None:
    seen, until = b"", time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < until, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 4096)


def test_packets_at_a_tap_are_captured_and_the_link_is_slowed(lab: RunningLab, tmp_path: Path) -> None:
    ping = threading.Thread(target=lab.run, args=("exec", "--via", "agent", "--hosts", "far", PING))
    ping.start()
    try:
        path = tmp_path / "tap.pcap"
        done = lab.json("--timeout", "60", "capture", "gate:deep", "-c", "3", "-o", str(path), "icmp")
    finally:
        ping.join()
    assert done.exit_code == 0, done.trouble()
    assert done.of("capture", "gate", "deep")[0]["actual"] == "3 packets"
    read = subprocess.run(["tcpdump", "-n", "-r", str(path)], capture_output=True, text=True, check=True)
    assert all("IP 10.212.2." in line and "ICMP echo" in line for line in read.stdout.splitlines())
    for wanted, statuses in (("rate 2mbit", {"changed"}), ("rate 2mbit", {"ok"}), ("--clear", {"changed"})):
        answer = lab.json("tc", "far:deep", *wanted.split())
        assert (answer.exit_code, answer.statuses()) == (0, statuses), answer.trouble()
    (row,) = lab.json("tc", "far:deep").rows
    assert (row["status"], row["actual"]) == ("ok", "none")


PING = "ping -n -i 0.5 -c 30 10.212.2.254 >/dev/null; true"

_INPUT = "nft add table inet shut; nft 'add chain inet shut input {type filter hook input priority 0;}'"
# What cuts gate off, what undoes it, and the reason that is named.
CUTS = {
    "filter": (
        f"{_INPUT}; nft add rule inet shut input tcp dport 22 drop",
        "nft delete table inet shut",
        "nftables drops port 22: inet shut",
    ),
    "sshd": ("systemctl stop ssh", "systemctl start ssh", "sshd is not running: ssh.service is inactive"),
    "profile": ("nmcli device disconnect eth0", "nmcli device connect eth0", "eth0 has no address"),
    "address": (
        "ip address del 10.212.1.254/24 dev eth0; ip address add 10.212.1.99/24 dev eth0",
        "nmcli device reapply eth0; ip address del 10.212.1.99/24 dev eth0; true",
        "eth0 has 10.212.1.99/24, not 10.212.1.254",
    ),
}


@pytest.mark.parametrize("cut", CUTS)
def test_one_that_is_cut_off_is_judged_by_what_is_inside(lab: RunningLab, cut: str) -> None:
    breaks, mends, why = CUTS[cut]
    on_gate = ("--via", "agent", "--hosts", "gate")
    said(lab, *on_gate, breaks)
    try:
        verified = lab.json(*SLOW, "verify", "--hosts", "gate")
    finally:
        said(lab, *on_gate, mends)
    assert verified.exit_code in (1, 4), verified.trouble()
    rows = [row for row in verified.rows if row["host"] == "gate"]
    reasons = [row["why"] or "" for row in rows]
    assert any(why in each for each in reasons), reasons
    # What is as declared is ok all the same, and marked.
    assert any(row["status"] == "ok" and "seen out of band" in (row["why"] or "") for row in rows), reasons
    assert lab.json(*SLOW, "verify", "--hosts", "gate").exit_code == 0


Text = Callable[[str], str]
MOVES: dict[str, tuple[Text, str]] = {
    "a NIC more": (
        lambda text: text.replace("hosts:", "  side: {cidr: 10.212.3.0/24}\nhosts:").replace(
            "deep: 10.212.2.254}", "deep: 10.212.2.254, side: 10.212.3.254}"
        ),
        "10.212.3.254",
    ),
    "memory": (lambda text: text.replace("memory: 384", "memory: 320"), ""),
    "a subnet": (lambda text: text.replace("10.212.1.", "10.212.4."), "10.212.4.254"),
    "a network renamed": (
        lambda text: text.replace("left", "outer").replace("10.212.1.", "10.212.4."),
        "10.212.4.254",
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_what_changes_while_it_runs_is_followed(lab: RunningLab, move: str) -> None:
    change, address = MOVES[move]
    original = lab.path.read_text(encoding="utf-8")
    for text, wanted in ((change(original), address), (original, "10.212.1.254")):
        lab.path.write_text(text, encoding="utf-8")
        assert lab.json("plan", "--prune").exit_code == 3
        up = lab.json(*SLOW, "-y", "up", "--prune", "--configure")
        assert up.exit_code == 0, up.trouble()
        assert lab.json("plan", "--prune").exit_code == 0
        assert wanted in said(lab, "--hosts", "gate", "ip -brief -4 address")["gate"]
