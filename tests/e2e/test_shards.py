"""Worker processes on real hosts: the rows are those of threads, and nothing begins twice in a guest."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

NAME = "e2e-shards"
BEHIND = "far"
HOSTS = ("gate", "one", "two", BEHIND)
LAB = """\
name: e2e-shards
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.190.1.0/24}
  deep: {mode: very-isolated, cidr: 10.190.2.0/24}
hosts:
  gate: {role: router, networks: {left: 10.190.1.254, deep: 10.190.2.254}}
  one: {networks: {left: 10.190.1.11}}
  two: {networks: {left: 10.190.1.12}}
  far: {networks: {deep: 10.190.2.11}}
"""
# What stands outside of a rollback: a command that begins, says what it found, and waits until it may end.
CHANGE = """\
groups:
  leaves:
    hosts: [one, two]
    files:
      /srv/app:
        content: "new\\n"
        on_change: "sh -c 'cat /srv/app >>/srv/starts; while [ ! -e /srv/go ]; do sleep 0.1; done'"
"""
LEAVES = ("one", "two")
PROCESSES = ("--engine", "processes")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("shards"), LAB)
    # Two hosts each: the jump host and the host behind it are in different shards.
    made.env["LABRUN_SHARD_SIZE"] = "2"
    try:
        up = made.json("up")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the rows without the time that each took."""
    return [{**row, "seconds": None} for row in answer.rows]


def workers_of(process: subprocess.Popen[bytes], count: int) -> list[int]:
    """Wait for the worker processes of a labrun and return their process IDs."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = [
            int(child)
            for path in Path(f"/proc/{process.pid}/task").glob("*/children")
            for child in path.read_text("ascii").split()
        ]
        found = [
            child for child in children if b"process_worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        if len(found) == count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not {count} workers")


def no_workers(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def await_end(workers: list[int], seconds: float) -> None:
    """Wait until these processes have ended; a labrun that was killed cannot wait for them itself."""
    until = time.monotonic() + seconds
    while not no_workers(workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def start(lab: RunningLab, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        lab.arguments("--json", *words),
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def answer_of(process: subprocess.Popen[bytes]) -> Answer:
    out, errors = process.communicate(timeout=300)
    return Answer(process.returncode, out.decode(), errors.decode(), json.loads(out))


def await_words(process: subprocess.Popen[bytes], words: bytes) -> None:
    """Wait until a labrun has said something on standard error."""
    assert process.stderr is not None
    heard, until = b"", time.monotonic() + 60
    while words not in heard:
        assert time.monotonic() < until, heard
        if select.select([process.stderr], [], [], 0.1)[0]:
            said = os.read(process.stderr.fileno(), 4096)
            assert said, heard
            heard += said


def starts(host: str) -> int:
    """Return how often the change began, counted in the guest."""
    return inside(f"{NAME}-{host}", "cat /srv/starts 2>/dev/null || true").split().count("new")


@pytest.mark.full
def test_the_rows_are_those_of_threads(lab: RunningLab) -> None:
    changed = lab.json(*PROCESSES, "configure")
    assert changed.exit_code == 0, changed.trouble()
    assert "changed" in changed.statuses()
    # The second run changes nothing, whatever the engine.
    apart, here = lab.json(*PROCESSES, "configure"), lab.json("configure")
    assert here.exit_code == 0, here.trouble()
    assert "changed" not in apart.statuses()
    assert rows_of(apart) == rows_of(here)
    for command in ("verify", "drift"):
        assert rows_of(lab.json(*PROCESSES, command)) == rows_of(lab.json(command))


@pytest.mark.full
def test_the_rows_of_other_commands_are_those_of_threads(lab: RunningLab) -> None:
    for words in (("status",), ("exec", "hostname; exit 3"), ("exec", "--via", "agent", "hostname")):
        assert rows_of(lab.json(*PROCESSES, *words)) == rows_of(lab.json(*words)), words


@pytest.mark.full
def test_drift_shows_what_threads_show(lab: RunningLab) -> None:
    assert lab.json("configure").exit_code == 0
    inside(f"{NAME}-one", "sysctl -qw net.ipv4.conf.all.rp_filter=1; rm -f /etc/ssh/sshd_config.d/*labrun*")
    apart, here = lab.json(*PROCESSES, "drift"), lab.json("drift")
    assert apart.exit_code == here.exit_code == 3
    assert rows_of(apart) == rows_of(here)
    assert lab.json(*PROCESSES, "configure").exit_code == 0


@pytest.mark.full
def test_a_worker_that_is_killed_leaves_its_hosts_unknown(lab: RunningLab) -> None:
    assert lab.json("configure").exit_code == 0
    lab.path.write_text(LAB + CHANGE, encoding="utf-8")
    try:
        running = start(lab, *PROCESSES, "--hosts", ",".join(LEAVES), "configure", "--confirm-timeout", "15")
        # Two hosts are one shard, which has one worker.
        workers = workers_of(running, 1)
        for host in LEAVES:
            wait_until(f"{NAME}-{host}", "[ -s /srv/starts ]")
        os.kill(workers[0], signal.SIGKILL)
        for host in LEAVES:
            inside(f"{NAME}-{host}", "touch /srv/go")
        lost = answer_of(running)
        assert lost.exit_code == 4, lost.stderr
        files = lost.of("files")
        assert [row["host"] for row in files] == list(LEAVES)
        assert {row["status"] for row in files} == {"unknown"}
        assert all(row["why"].startswith("the worker was lost; ") for row in files), files
        assert [starts(host) for host in LEAVES] == [1, 1]
        for host in LEAVES:
            wait_until(f"{NAME}-{host}", "[ ! -e /var/lib/labrun/guard ]")
        # It was read, and not applied again.
        assert [starts(host) for host in LEAVES] == [1, 1]
        assert no_workers(workers)
        done = lab.json(*PROCESSES, "configure")
        assert done.exit_code == 0, done.trouble()
        assert lab.json(*PROCESSES, "configure").statuses("files") == {"ok"}
    finally:
        lab.path.write_text(LAB, encoding="utf-8")


def test_ctrl_c_ends_reading_and_leaves_no_process(lab: RunningLab) -> None:
    running = start(lab, *PROCESSES, "exec", "touch /tmp/begun; exec sleep 600")
    workers = workers_of(running, 2)
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", "[ -e /tmp/begun ]")
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    stopped = answer_of(running)
    # Two seconds, and as long again for a machine that is busy.
    assert time.monotonic() - began < 4
    assert stopped.exit_code == 130
    assert {row["host"]: (row["status"], row["why"]) for row in stopped.rows} == dict.fromkeys(
        HOSTS, ("unknown", "interrupted")
    )
    assert no_workers(workers)


@pytest.mark.full
def test_a_labrun_that_is_killed_leaves_no_process(lab: RunningLab) -> None:
    running = start(lab, *PROCESSES, "exec", "exec sleep 600")
    workers = workers_of(running, 2)
    running.kill()
    running.communicate()
    await_end(workers, 30)


@pytest.fixture
def begun(lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A labrun in the middle of a change of the leaves, which may not end yet; ``param`` are its options."""
    assert lab.json("configure").exit_code == 0
    for host in LEAVES:
        inside(f"{NAME}-{host}", "rm -f /srv/app /srv/go /srv/starts")
    lab.path.write_text(LAB + CHANGE, encoding="utf-8")
    process = start(lab, *PROCESSES, "--hosts", ",".join(LEAVES), "configure", *getattr(request, "param", ()))
    try:
        for host in LEAVES:
            wait_until(f"{NAME}-{host}", "[ -s /srv/starts ]")
        yield process
    finally:
        open_gates()
        process.kill()
        process.communicate()
        lab.path.write_text(LAB, encoding="utf-8")


def open_gates() -> None:
    for host in LEAVES:
        inside(f"{NAME}-{host}", "touch /srv/go")


@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_change_waits_for_its_end(
    lab: RunningLab, begun: subprocess.Popen[bytes], number: int, code: int
) -> None:
    workers = workers_of(begun, 1)
    begun.send_signal(number)
    await_words(begun, b"waiting until ")
    open_gates()
    stopped = answer_of(begun)
    assert stopped.exit_code == code, stopped.trouble()
    assert stopped.statuses("files") == {"changed"}, stopped.trouble()
    assert no_workers(workers)
    again = lab.json(*PROCESSES, "configure")
    assert again.statuses("files") == {"ok"}, again.trouble()
    assert [starts(host) for host in LEAVES] == [1, 1]


@pytest.mark.full
@pytest.mark.parametrize("begun", [("--confirm-timeout", "15")], indirect=True)
def test_a_labrun_that_is_killed_in_the_middle_of_a_change_is_rolled_back(
    lab: RunningLab, begun: subprocess.Popen[bytes]
) -> None:
    workers = workers_of(begun, 1)
    begun.kill()
    begun.communicate()
    await_end(workers, 60)
    open_gates()
    for host in LEAVES:
        wait_until(f"{NAME}-{host}", "[ ! -e /var/lib/labrun/guard ]")
        assert inside(f"{NAME}-{host}", "cat /srv/app 2>/dev/null || echo as before").strip() == "as before"
    assert [starts(host) for host in LEAVES] == [1, 1]
    done = lab.json(*PROCESSES, "configure")
    assert (done.exit_code, done.statuses("files")) == (0, {"changed"}), done.trouble()
    assert lab.json(*PROCESSES, "configure").statuses("files") == {"ok"}
    assert [starts(host) for host in LEAVES] == [2, 2]


# One run, twice on the same host: the second time its settings differ again.
TWICE = textwrap.dedent("""\
    import json, subprocess, sys
    from pathlib import Path
    from labrun.runner.cli.invocation import Invocation
    from labrun.runner.commands.configure import configure_hosts
    from labrun.runner.engine.session import open_session

    lab, state, engine, name = sys.argv[1:]
    session = open_session(
        Invocation("configure", lab=lab, state_dir=Path(state), hosts="one", verbosity=-2, engine=engine)
    )
    told = []
    for _ in range(2):
        words = ["virsh", "-c", "lxc:///system", "lxc-enter-namespace", name, "--noseclabel", "--"]
        script = "rm -f /etc/sysctl.d/*labrun* /etc/ssh/sshd_config.d/*labrun*; true"
        subprocess.run([*words, "/bin/sh", "-c", script], check=True, capture_output=True)
        told.append([row.as_json() for row in configure_hosts(session)])
    print(json.dumps({"run": session.invocation.run, "rows": told}))
""")


@pytest.mark.parametrize("engine", ["processes", pytest.param("threads", marks=pytest.mark.full)])
def test_a_guest_lets_a_run_begin_once(lab: RunningLab, engine: str) -> None:
    assert lab.json("configure").exit_code == 0
    words = [sys.executable, "-c", TWICE, str(lab.path), str(lab.state), engine, f"{NAME}-one"]
    done = subprocess.run(
        words, env=lab.environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    first, second = ({row["name"]: row for row in rows if row["section"] == "sshd"} for rows in told["rows"])
    assert "changed" in {row["status"] for row in first.values()}
    refused = [row for row in second.values() if row["status"] != "ok"]
    assert refused
    assert {row["status"] for row in refused} == {"unknown"}
    begins = f"nothing was changed: run {told['run']} has begun here before (attempt 1 of labrun (pid "
    assert all(row["why"].startswith(begins) for row in refused), refused
    assert "no" in inside(f"{NAME}-one", "ls /etc/ssh/sshd_config.d/*labrun* 2>/dev/null || echo no")
    assert lab.json("configure").exit_code == 0
