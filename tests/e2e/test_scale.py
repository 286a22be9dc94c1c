"""`configure` of several hosts: canary and failures, redundancy, hosts that hang or die, Ctrl-C."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: scl-scale
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 192}
networks:
  left: {mode: isolated, cidr: 10.63.16.0/24}
hosts:
  one: {networks: {left: 10.63.16.11}}
  two: {networks: {left: 10.63.16.12}, redundancy: pair}
  three: {networks: {left: 10.63.16.13}, redundancy: pair}
"""
_KEY = "net.ipv4.tcp_syncookies"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """Three configured hosts; every test leaves them so."""
    lab = write_lab(tmp_path_factory.mktemp("scale"), LAB)
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        lab.run("-y", "down")


def with_sysctl(lab: RunningLab, **values: str) -> RunningLab:
    """Return the lab with another value of one kernel parameter on each of the named hosts."""
    text = LAB
    for host, value in values.items():
        text = re.sub(rf"(  {host}: {{)", rf"\1sysctl: {{{_KEY}: {value}}}, ", text)
    path = lab.path.with_name("other.yaml")
    path.write_text(text, encoding="utf-8")
    return RunningLab(path, lab.state)


def everywhere(lab: RunningLab, value: str) -> RunningLab:
    return with_sysctl(lab, one=value, two=value, three=value)


def by_host(answer: Answer) -> dict[str, tuple[str, str | None]]:
    """Return status and reason of each host's row of the kernel parameter."""
    return {row["host"]: (row["status"], row["why"]) for row in answer.of("sysctl", None, _KEY)}


def assert_settled(lab: RunningLab) -> None:
    done = lab.json("configure")
    assert done.exit_code == 0, done.trouble()
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def stages(stderr: str) -> list[tuple[str, str]]:
    """Return (host, stage) in the order in which progress told them."""
    return re.findall(r"^ *[\d.]+ s  (\w+): (\w+)", stderr, re.MULTILINE)


def test_a_canary_that_fails_leaves_the_others_untouched(lab: RunningLab) -> None:
    answer = with_sysctl(lab, one="banana", two="2", three="2").json("configure", "--canary", "1")
    assert answer.exit_code == 1
    skipped = ("skipped", "not started: 1 host failed, and --max-fail is 0")
    status, _ = by_host(answer)["one"]
    assert status in ("failed", "rolled-back")
    assert any("banana" in (row["why"] or "") for row in answer.rows if row["host"] == "one"), answer.rows
    assert by_host(answer) | {"one": None} == {"one": None, "two": skipped, "three": skipped}
    assert {row["status"] for row in answer.rows if row["host"] != "one"} == {"skipped"}
    for host in ("two", "three"):
        assert lab.guest(host, "cat /proc/sys/net/ipv4/tcp_syncookies", sudo=False) == "1\n"
    more = with_sysctl(lab, one="banana", two="2", three="2").json(
        "configure", "--canary", "1", "--max-fail", "1"
    )
    assert {host: status for host, (status, _) in by_host(more).items()} == {
        "one": status,
        "two": "changed",
        "three": "changed",
    }
    assert_settled(lab)


def test_two_of_one_redundancy_word_are_changed_one_after_the_other(lab: RunningLab) -> None:
    answer = everywhere(lab, "2").run("configure", "-v")
    assert answer.exit_code == 0, answer.stdout
    told = stages(answer.stderr)
    first, second = sorted(("two", "three"), key=lambda host: told.index((host, "gather")))
    assert told.index((first, "done")) < told.index((second, "gather")), answer.stderr
    assert_settled(lab)


@contextmanager
def hanging(lab: RunningLab, host: str, hang: str, mend: str) -> Iterator[None]:
    """Make a host hang for the block, through a session that is there before and outlives it."""
    with subprocess.Popen(
        lab.arguments("ssh", host, "sudo", "sh"),
        env=lab.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        try:
            session.stdin.write(f"{hang}\necho hangs\n")
            session.stdin.flush()
            assert session.stdout.readline() == "hangs\n"
            yield
        finally:
            session.stdin.write(f"{mend}\n")
            session.stdin.close()
            session.wait(60)


_DROP = (
    "nft add table inet scl; nft add chain inet scl in '{ type filter hook input priority 0; }'; "
    "nft add rule inet scl in ct state new tcp dport 22 drop"
)


@pytest.mark.parametrize(
    ("hang", "mend", "why"),
    [
        (
            "kill -STOP $(cat /run/sshd.pid)",
            "kill -CONT $(cat /run/sshd.pid)",
            r"accepted the connection but sent no SSH banner within \d+ s",
        ),
        pytest.param(_DROP, "nft delete table inet scl", "did not answer in time", marks=pytest.mark.full),
    ],
    ids=["sshd stopped", "packets dropped"],
)
def test_a_host_that_hangs_is_unreachable_and_delays_nobody_else(
    lab: RunningLab, hang: str, mend: str, why: str
) -> None:
    with hanging(lab, "one", hang, mend):
        answer = everywhere(lab, "2").run("configure", "--timeout", "8")
    assert answer.exit_code == 4, answer.stdout
    told = stages(answer.stderr)
    assert told[-1] == ("one", "unreachable"), answer.stderr
    assert {("two", "done"), ("three", "done")} <= set(told[:-1])
    # Whatever of the eight seconds was left when the connection stood.
    said = " ".join(answer.stdout.split())
    assert re.search(rf"10\.63\.16\.11 port 22 {why}", said), answer.stdout
    assert_settled(lab)


_HTTP = (
    "systemctl stop ssh; setsid python3 -m http.server 22 >/dev/null 2>&1 </dev/null &"
    " until ss -Hltn 'sport = :22' | grep -q .; do sleep 0.1; done"
)
_SSH_AGAIN = (
    "kill $(ss -Hltnp 'sport = :22' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p'); systemctl start ssh;"
    " until [ -e /run/sshd.pid ]; do sleep 0.1; done"
)


@pytest.mark.full
def test_what_listens_in_sshds_place_is_named_by_what_it_says(lab: RunningLab) -> None:
    with hanging(lab, "one", _HTTP, _SSH_AGAIN):
        answer = everywhere(lab, "2").run("configure", "-v")
    assert answer.exit_code == 4, answer.stdout
    assert {("two", "done"), ("three", "done")} <= set(stages(answer.stderr))
    why = "10.63.16.11 port 22 does not speak SSH (it sent: <!DOCTYPE HTML>)"
    assert why in " ".join(answer.stdout.split())
    assert_settled(lab)


# In /run, so that it is gone with the machine's power.
_SLOW = (
    "mkdir -p /run/systemd/system/ssh.service.d; "
    "printf '[Service]\\nExecReload=/bin/sleep {}\\n' >/run/systemd/system/ssh.service.d/slow.conf; "
    "systemctl daemon-reload; rm /etc/ssh/sshd_config.d/00-labrun.conf"
)


def running(lab: RunningLab, *words: str, at: tuple[str, str], then: Callable[..., object]) -> Answer:
    """Run a command and do something when a host has entered a stage; returns what it said."""
    with subprocess.Popen(
        lab.arguments(*words),
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        until = time.monotonic() + 120
        for line in process.stderr:
            said.append(line)
            if at in stages(line):
                then(process)
                break
            assert time.monotonic() < until
        out, rest = process.communicate(timeout=240)
    return Answer(process.returncode, out, "".join(said) + rest)


def results_of(answer: Answer, host: str) -> set[str]:
    """Return the results of a host's rows in the table."""
    words = "ok|changed|skipped|failed|unreachable|unknown"
    return set(re.findall(rf"^{host} .*?  ({words})(?:  .*)?$", answer.stdout, re.MULTILINE))


@pytest.mark.full
def test_ctrl_c_begins_nobody_else_and_lets_the_one_at_work_finish(lab: RunningLab) -> None:
    lab.guest("one", _SLOW.format(2))
    before = lab.guest("two", "cat /proc/sys/net/ipv4/tcp_syncookies", sudo=False)
    answer = running(
        everywhere(lab, "2"),
        "-v",
        "configure",
        "--workers",
        "1",
        at=("one", "apply"),
        then=lambda process: process.send_signal(signal.SIGINT),
    )
    assert answer.exit_code == 130
    assert "one: done" in answer.stderr
    assert re.search(
        r"^waiting until one has confirmed or rolled back; at most \d+ s$", answer.stderr, re.MULTILINE
    )
    assert results_of(answer, "one") == {"changed", "ok"}, answer.stdout
    assert results_of(answer, "two") == {"skipped"}
    for host in ("two", "three"):
        assert f"{host}: skipped (not started: interrupted before it started)" in answer.stderr
    assert lab.guest("one", "cat /proc/sys/net/ipv4/tcp_syncookies", sudo=False) == "2\n"
    assert lab.guest("two", "cat /proc/sys/net/ipv4/tcp_syncookies", sudo=False) == before
    lab.guest("one", "rm /run/systemd/system/ssh.service.d/slow.conf; systemctl daemon-reload")
    assert_settled(lab)


def test_a_host_that_dies_in_the_middle_is_unknown_and_the_next_run_goes_on(lab: RunningLab) -> None:
    virsh = shutil.which("virsh") or "virsh"
    lab.guest("two", _SLOW.format(60))

    def pull_the_plug(_process: object) -> None:
        subprocess.run([virsh, "-q", "-c", "lxc:///system", "destroy", "scl-scale-two"], check=True)

    # With a guard in the guest labrun waits, minutes in all, for it to go back by itself.
    words = ("-v", "configure", "--no-guard")
    answer = running(everywhere(lab, "2"), *words, at=("two", "apply"), then=pull_the_plug)
    assert answer.exit_code == 4, answer.stdout
    assert results_of(answer, "one") == {"changed", "ok"}, answer.stdout
    assert "unknown" in results_of(answer, "two"), answer.stdout
    started = lab.json("up")
    assert started.exit_code == 0, started.trouble()
    assert_settled(lab)
