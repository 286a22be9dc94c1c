"""`labrun capture` and `labrun tc` on real NICs, beside what tcpdump, tc and the guests themselves say."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

LAB = """\
name: e2e-links
hypervisor: lxc:///system
networks:
  lan: {mode: isolated, cidr: 10.173.1.0/24}
  side: {mode: isolated, cidr: 10.173.2.0/24}
hosts:
  a: {networks: {lan: 10.173.1.11, side: 10.173.2.11}}
  b: {networks: {lan: 10.173.1.12}}
"""
SECONDS = 30.0
WITHIN = ("--timeout", "20")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("links"), LAB)


@contextmanager
def pings(lab: RunningLab, source: str, to: str) -> Iterator[None]:
    """Keep pinging from inside a host, from before the block until after it."""
    words = lab.arguments("ssh", source, f"ping -n -i 0.2 -w 120 {to}")
    with started(lab, words) as (process, output):
        while "bytes from" not in (line := output.readline().decode()):
            assert line, "the ping has ended"
        drain = threading.Thread(target=output.read)
        drain.start()
        try:
            yield
        finally:
            lab.guest(source, "pkill ping; true")
            drain.join()
            process.wait(SECONDS)


@contextmanager
def started(lab: RunningLab, words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Yield a process and its standard output; it has ended after the block."""
    process = subprocess.Popen(
        words, env=lab.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.terminate()


def read_back(path: Path) -> list[str]:
    done = subprocess.run(["tcpdump", "-n", "-r", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def captures_running() -> list[str]:
    """Return the command lines of tcpdumps at the lab's taps."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"tcpdump") and any(word.startswith(b"lr02") for word in words):
            found.append(b" ".join(words).decode())
    return found


def test_packets_are_shown_decoded_at_every_nic_that_they_pass(lab: RunningLab) -> None:
    with pings(lab, "a", "10.173.1.12"):
        text = lab.run(*WITHIN, "capture", "a:lan", "b", "icmp", "-c", "8")
        answer = lab.json(*WITHIN, "capture", "a:lan", "-c", "3", "icmp", "and", "src", "10.173.1.12")
    assert text.exit_code == 0, text.stderr
    *lines, at_a, at_b, total = text.stdout.splitlines()
    shown = re.compile(
        r"(a:lan|b:lan)  \d\d:\d\d:\d\d\.\d{6} IP 10\.173\.1\.1[12] > 10\.173\.1\.1[12]: ICMP echo .*"
    )
    assert len(lines) == 8
    assert all(shown.fullmatch(line) for line in lines), lines
    assert {line[:5] for line in lines} == {"a:lan", "b:lan"}
    counted = {line[:5]: int(line.split()[1]) for line in (at_a, at_b)}
    assert counted == {nic: sum(line.startswith(nic) for line in lines) for nic in ("a:lan", "b:lan")}
    assert re.fullmatch(r"8 packets in \d+\.\d s", total)
    assert answer.exit_code == 0
    assert [row["actual"] for row in answer.of("capture", "a", "lan")] == ["3 packets"]
    packets = answer.document["packets"]
    assert [(each["host"], each["network"]) for each in packets] == [("a", "lan")] * 3
    assert all("10.173.1.12 > 10.173.1.11: ICMP echo reply" in each["packet"] for each in packets)
    now = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    assert all(each["time"][:13] == now[:13] for each in packets) or now.endswith(":00")
    assert captures_running() == []


def test_a_file_of_one_nic_is_pcap_and_of_several_says_where_each_was_seen(
    lab: RunningLab, tmp_path: Path
) -> None:
    one, several = tmp_path / "one.pcap", tmp_path / "several.pcapng"
    with pings(lab, "a", "10.173.1.12"):
        assert lab.run(*WITHIN, "capture", "b:lan", "icmp", "-c", "4", "-o", str(one)).exit_code == 0
        done = lab.run(*WITHIN, "capture", "a", "b", "icmp", "-c", "6", "--output", str(several))
        piped = subprocess.run(
            lab.arguments(*WITHIN, "capture", "a:lan", "icmp", "-c", "2", "-o", "-"),
            env=lab.environment(),
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    assert len(read_back(one)) == 4
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[1] == "a:side: 0 packets"
    assert len(read_back(several)) == 6
    assert all(name in several.read_bytes() for name in (b"a:lan", b"a:side", b"b:lan"))
    assert piped.returncode == 0
    assert piped.stderr.decode().splitlines()[-1].startswith("2 packets in ")
    (tmp_path / "piped").write_bytes(piped.stdout)
    assert len(read_back(tmp_path / "piped")) == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.full)]
)
def test_a_signal_ends_a_capture_with_what_it_has(
    lab: RunningLab, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    path = tmp_path / "cut.pcap"
    path.write_text("of before")
    with pings(lab, "a", "10.173.1.12"):
        words = lab.arguments("--json", "capture", "a:lan", "icmp", "-o", str(path))
        with started(lab, words) as (process, _):
            assert process.stderr is not None
            assert process.stderr.readline() == b"capturing at a:lan; Ctrl-C stops\n"
            deadline = time.monotonic() + SECONDS
            # The file grows: an echo has 98 bytes and 16 before it.
            while path.stat().st_size < 24 + 4 * 114 and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(number)
            began = time.monotonic()
            out, err = process.communicate(timeout=SECONDS)
            assert time.monotonic() - began < 20
    document = json.loads(out)
    assert (process.returncode, document["exit_code"], document["error"]) == (code, code, "interrupted")
    assert err.decode().splitlines()[-1] == "interrupted"
    (row,) = document["results"]
    assert (row["host"], row["name"], row["status"]) == ("a", "lan", "ok")
    kept = read_back(path)
    assert row["actual"] == f"{len(kept)} packets"
    assert len(kept) >= 4
    assert captures_running() == []


def device(lab: RunningLab, host: str, network: str) -> str:
    links = lab.json("tc", f"{host}:{network}").document["links"]
    return str(links[0]["dev"])


def inside(*words: str) -> str:
    """Run a program where the hypervisor's devices are."""
    pid = Path("/run/libvirtd.pid").read_text().strip()
    command = ["nsenter", "-t", pid, "-n", "--", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


@pytest.mark.full
def test_a_machine_that_stops_ends_its_capture_and_says_so(lab: RunningLab) -> None:
    try:
        with started(lab, lab.arguments("--json", "capture", "b", "icmp")) as (process, _):
            assert process.stderr is not None
            assert process.stderr.readline() == b"capturing at b:lan; Ctrl-C stops\n"
            assert lab.run("--hosts", "b", "stop").exit_code == 0
            out, _ = process.communicate(timeout=SECONDS)
        document = json.loads(out)
        (row,) = document["results"]
        assert (process.returncode, row["status"], row["actual"]) == (4, "unknown", "0 packets")
        assert "interface" in row["why"]
        again = lab.run("capture", "b")
        assert (again.exit_code, again.stdout) == (4, "")
        assert again.stderr == "error: b: capture: its machine is not running: `labrun up` starts it\n"
        off = lab.json("tc").of("tc", "b")
        assert [(row["status"], row["why"]) for row in off] == [
            ("skipped", "its machine is off, or it has no device here")
        ]
    finally:
        assert lab.json("up").exit_code == 0


MESSAGES = [
    (("capture", "c"), 'error: c: unknown host "c"\nhint: the lab has a, b\n'),
    (("capture", "a:lam"), 'error: a:lam: a has no NIC on "lam"\nhint: did you mean "lan"?\n'),
    (
        ("capture", "a", "tpc", "port", "80"),
        """\
error: capture: 'tpc port 80' is not a packet filter: syntax error
hint: as for tcpdump, such as icmp or 'tcp port 80'; man pcap-filter
""",
    ),
    (
        ("--json", "capture", "a", "-o", "-"),
        "error: --output - and --json both write to stdout\nhint: name a file\n",
    ),
    (("tc", "a:lan", "dely", "3ms"), 'error: tc: unknown word "dely"\nhint: did you mean "delay"?\n'),
    (("tc", "loss", "5%"), "error: tc: name a HOST[:NIC]\nhint: such as labrun tc HOST loss\n"),
    (("tc", "a", "loss", "5%", "--clear"), "error: tc: --clear takes no settings\nhint: leave loss 5% out\n"),
]


@pytest.mark.parametrize(("words", "says"), MESSAGES)
def test_messages(lab: RunningLab, words: tuple[str, ...], says: str) -> None:
    done = lab.run(*words)
    assert (done.exit_code, done.stderr) == (2, says)


def test_a_missing_tcpdump_is_said_with_the_command_that_installs_it(lab: RunningLab, tmp_path: Path) -> None:
    for program in ("ip", "apt-get"):
        found = shutil.which(program, path="/usr/sbin:/usr/bin")
        assert found is not None
        (tmp_path / program).symlink_to(found)
    bare = RunningLab(lab.path, lab.state, {**lab.env, "PATH": str(tmp_path)})
    done = bare.run("capture", "a:lan")
    assert done.exit_code == 5
    assert done.stderr.startswith(
        "error: capture: tcpdump is not installed here\nhint: `sudo apt-get install tcpdump` installs it\n"
    )


def rate_of(lab: RunningLab, megabytes: int) -> float:
    """Return how fast b receives from a over TCP (Mbit/s)."""
    line = (
        "import socket,time;s=socket.create_connection(('10.173.1.11',9009));b=time.monotonic();n=0\n"
        "while d:=s.recv(1<<16): n+=len(d)\n"
        "print(n*8/1e6/(time.monotonic()-b))"
    )
    serve = (
        "import socket;l=socket.create_server(('',9009));print('there',flush=True);s,_=l.accept();"
        f"s.sendall(bytes({megabytes}<<20));s.close()"
    )
    words = lab.arguments("ssh", "a", f'python3 -c "{serve}"')
    with started(lab, words) as (_, output):
        assert output.readline() == b"there\n"
        return float(lab.guest("b", f"cat >/tmp/r.py <<'E'\n{line}\nE\npython3 /tmp/r.py", sudo=False))


def test_a_rate_holds_is_shown_by_verify_and_ends(lab: RunningLab) -> None:
    try:
        first = lab.json("tc", "b:lan", "rate", "20mbit")
        assert [(row["status"], row["expected"], row["actual"]) for row in first.of("tc", "b", "lan")] == [
            ("changed", "rate 20mbit", "rate 20mbit")
        ]
        assert lab.json("tc", "b:lan", "rate", "20mbit").statuses() == {"ok"}
        assert 10 < rate_of(lab, 4) < 22
        assert "tbf 1ab0: root" in inside("tc", "qdisc", "show", "dev", device(lab, "b", "lan"))
        assert "tbf" not in inside("tc", "qdisc", "show", "dev", device(lab, "a", "lan"))
        changed = lab.json("tc", "b:lan", "rate", "30mbit")
        assert changed.statuses() == {"changed"}
        verify = lab.json("verify")
        assert [(row["status"], row["actual"], row["why"]) for row in verify.of("tc")] == [
            ("warning", "rate 30mbit", "`labrun tc b:lan --clear` removes it")
        ]
        assert lab.json("--hosts", "a", "verify").of("tc") == []
        everywhere = {(row["host"], row["name"]): row["actual"] for row in lab.json("tc").rows}
        assert everywhere == {("a", "lan"): "none", ("a", "side"): "none", ("b", "lan"): "rate 30mbit"}
    finally:
        cleared = lab.json("tc", "--clear")
    assert {(row["host"], row["name"]): row["status"] for row in cleared.rows} == {
        ("a", "lan"): "ok",
        ("a", "side"): "ok",
        ("b", "lan"): "changed",
    }
    assert lab.json("tc", "--clear").statuses() == {"ok"}
    assert rate_of(lab, 20) > 60


def has_netem() -> bool:
    words = "ip link add v0 type veth peer name v1 && tc qdisc add dev v0 root netem delay 1ms"
    return (
        subprocess.run(["unshare", "-n", "sh", "-c", words], capture_output=True, check=False).returncode == 0
    )


def test_a_delay_is_felt_or_the_kernel_that_has_none_is_named(lab: RunningLab) -> None:
    lab.json("tc", "b:lan", "rate", "20mbit")
    done = lab.json("tc", "b:lan", "delay", "40ms", "loss", "0.1%")
    try:
        if has_netem():
            assert done.statuses() == {"changed"}
            assert [row["actual"] for row in done.rows] == ["delay 40ms loss 0.1%"]
            said = lab.guest("a", "ping -n -c 5 -i 0.2 10.173.1.12", sudo=False)
            least = float(re.findall(r"= ([0-9.]+)/", said)[0])
            assert 40 <= least < 80
        else:
            assert done.exit_code == 5
            assert done.document["error"] == (
                "b: tc: this machine's kernel has no netem, which delay, loss, duplicate and corrupt need"
            )
            # What was there before is there again.
            assert [row["actual"] for row in lab.json("tc", "b:lan").rows] == ["rate 20mbit"]
    finally:
        lab.json("tc", "--clear")


def test_what_is_somebody_else_s_is_left_alone(lab: RunningLab) -> None:
    own = device(lab, "a", "side")
    shape = ("rate", "1mbit", "burst", "4kb", "latency", "9ms")
    inside("tc", "qdisc", "add", "dev", own, "root", "handle", "7:", "tbf", *shape)
    try:
        shown = lab.json("tc", "a:side")
        assert [(row["status"], row["actual"]) for row in shown.rows] == [("ok", "tbf, not labrun's")]
        refused = lab.run("tc", "a:side", "rate", "2mbit")
        assert refused.exit_code == 5
        assert refused.stderr.startswith("error: tc: a:side has a qdisc that is not labrun's: tbf\n")
        assert lab.json("tc", "--clear").exit_code == 0
        assert "tbf 7: root" in inside("tc", "qdisc", "show", "dev", own)
    finally:
        inside("tc", "qdisc", "del", "dev", own, "root")


@pytest.mark.full
def test_a_restarted_machine_has_a_good_link_again(lab: RunningLab) -> None:
    assert lab.json("tc", "a:side", "rate", "2mbit").statuses() == {"changed"}
    assert lab.json("--hosts", "a", "restart").exit_code == 0
    assert [row["actual"] for row in lab.json("tc", "a:side").rows] == ["none"]


@pytest.mark.skipif(os.geteuid() != 0, reason="reads the completion of a lab that only root has")
def test_hosts_and_their_networks_are_completed(lab: RunningLab) -> None:
    for typed, expected in (
        ("capture ", {"a", "b"}),
        ("capture a:", {"a:lan", "a:side"}),
        ("tc a:lan r", {"rate"}),
    ):
        words = f"labrun --lab {lab.path} {typed}"
        env = {"_LABRUN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [lab.arguments()[0], "-m", "labrun"],
            env={**lab.environment(), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        found = {line.partition(",")[2] for line in done.stdout.splitlines()}
        assert expected <= found, (typed, found)
