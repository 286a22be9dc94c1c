"""One signal in the middle of a command that reads: it ends soon, and shows what it has of every host."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.loopback_sshd import LoopbackSshd, loopback_sshd

SOON = 2.0
"""Within how many seconds of the signal a command that reads ends, while it does not wait for a processor.

Who waited for a stalled host would wait for 50 s.
"""
SECONDS = 300
# Its own in every run of the tests: a lab's lock is one for the machine, and `drift --every` waits for it.
NAME = f"fleet-{os.getpid()}"
HOSTS = ("good", "fine", "silent", "endless")
STATUS = ("status",)
STALLED = {"silent", "endless"}
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True)
class Fleet:
    """Existing hosts on loopback: two that answer, one that is silent, one whose scripts never end."""

    path: Path
    state: Path
    servers: tuple[LoopbackSshd, ...]

    def arguments(self, *words: str) -> list[str]:
        where = ["--lab", str(self.path), "--state-dir", str(self.state), "--timeout", "50"]
        return [sys.executable, "-m", "labrun", *where, *words]


def entry(name: str, number: int, port: int, server: LoopbackSshd) -> str:
    ssh = f"{{user: {server.user}, port: {port}, identity: {server.state.identity}, "
    ssh += f"known_hosts: {server.state.known_hosts}}}"
    return f"  {name}: {{address: 127.0.0.1, ssh: {ssh}, networks: {{lan: 192.0.2.{number}}}}}\n"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        for name in ("good", "fine", "endless"):
            (root / name).mkdir()
        good = stack.enter_context(loopback_sshd(root / "good"))
        fine = stack.enter_context(loopback_sshd(root / "fine"))
        endless = stack.enter_context(loopback_sshd(root / "endless", ForceCommand="sleep 300"))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        ports = (good.port, fine.port, silent.getsockname()[1], endless.port)
        servers = (good, fine, good, endless)
        text = f"name: {NAME}\nnetworks:\n  lan: {{mode: bridge, bridge: br0, cidr: 192.0.2.0/24}}\nhosts:\n"
        for number, (name, port, server) in enumerate(zip(HOSTS, ports, servers, strict=True), 11):
            text += entry(name, number, port, server)
        path = root / "lab.yaml"
        path.write_text(text, encoding="utf-8")
        yield Fleet(path, root / "state", (good, fine, endless))


@dataclass
class Ended:
    """How a command ended: with what exit code and what on its streams, and how soon after the signal.

    ``seconds`` leaves out how long it waited for a processor.
    """

    code: int
    seconds: float
    stdout: str
    stderr: str
    document: dict[str, Any] = field(default_factory=dict)

    def rows(self, host: str) -> list[dict[str, Any]]:
        return [row for row in self.document["results"] if row["host"] == host]


def logins(fleet: Fleet, *, of: int = len(HOSTS)) -> int:
    """Return the logins to the first ``of`` servers so far."""
    logs = (server.directory / "sshd.log" for server in fleet.servers[:of])
    return sum(log.read_text(encoding="utf-8").count("Accepted publickey") for log in logs)


class Screen:
    """A terminal for the command's progress, and what was drawn on it."""

    def __init__(self) -> None:
        self._ours, self.terminal = pty.openpty()
        self.heard = bytearray()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        # Ends when the last process that has the terminal does.
        with contextlib.suppress(OSError):
            while more := os.read(self._ours, 4096):
                self.heard.extend(more)

    def has_finished(self, hosts: int) -> bool:
        return re.search(rb"(?<!\d)%d of \d+ finished" % hosts, self.heard) is not None

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self._listener.join(10)
        os.close(self._ours)


def threads(process: int) -> dict[str, tuple[int, int]]:
    """Return the nanoseconds for which each living thread ran, and waited for a processor."""
    found = {}
    for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            ran, waited, _ = map(int, path.read_text(encoding="ascii").split())
            found[path.parent.name] = (ran, waited)
    return found


def is_idle(process: int) -> bool:
    """Tell whether the process does next to nothing for a second: it waits for others."""
    before = sum(map(sum, threads(process).values()))
    time.sleep(1)
    return sum(map(sum, threads(process).values())) - before < 20_000_000


class Queued:
    """How long a process waits for a processor: what a busy machine adds to the time that it takes."""

    def __init__(self, process: int):
        self._process = process
        self._before = self._read()
        self._last = dict(self._before)
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def _read(self) -> dict[str, int]:
        return {name: waited for name, (_, waited) in threads(self._process).items()}

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            self._last.update(self._read())

    def end(self) -> float:
        """Return the seconds so far; to be called before the process is reaped."""
        self._over.set()
        self._sampler.join()
        self._last.update(self._read())
        return sum(now - self._before.get(name, 0) for name, now in self._last.items()) / 1e9


def until_end(process: subprocess.Popen[bytes], stream: IO[bytes] | None) -> bytes:
    """Return what the process writes until it ends; it is not reaped. One that does not end is killed."""
    assert stream is not None
    # Popen.kill would reap it, were it to end just now.
    killer = threading.Timer(SECONDS, os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    try:
        said = stream.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return said
    finally:
        killer.cancel()


def test_only_waiting_for_a_processor_is_not_counted() -> None:
    """A process that sleeps has waited for itself; one of many on one processor waits for the others."""
    with subprocess.Popen(["sleep", "0.5"], stdout=subprocess.PIPE) as process:
        queued = Queued(process.pid)
        assert process.stdout is not None
        process.stdout.read()
        idle = queued.end()
    spin = "import os, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    spin += "began = time.process_time()\nwhile time.process_time() < began + 0.1: pass"
    with ExitStack() as stack:
        command = [sys.executable, "-c", spin]
        one, *_ = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(3)]
        queued = Queued(one.pid)
        assert one.stdout is not None
        one.stdout.read()
        busy = queued.end()
    assert busy > 0.05
    assert idle < busy


def interrupted(
    fleet: Fleet, *words: str, number: signal.Signals, finished: int, output: str = "--json"
) -> Ended:
    """Run a command on a terminal, send it the signal once so many hosts have finished."""
    screen = Screen()
    before = logins(fleet, of=finished)
    with subprocess.Popen(
        fleet.arguments(output, *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=screen.terminal,
    ) as process:
        os.close(screen.terminal)
        try:
            until = time.monotonic() + SECONDS
            # `status` draws nothing: it has heard all that it will when it is idle after these logins.
            while not screen.has_finished(finished) and (
                words != STATUS or logins(fleet, of=finished) < before + finished or not is_idle(process.pid)
            ):
                assert time.monotonic() < until, screen.heard.decode()
                time.sleep(0.02)
            began = time.monotonic()
            queued = Queued(process.pid)
            process.send_signal(number)
            out = until_end(process, process.stdout)
            took = time.monotonic() - began - queued.end()
            process.wait()
        finally:
            process.kill()
    screen.close()
    document = json.loads(out) if output == "--json" else {}
    return Ended(process.returncode, took, out.decode(), screen.heard.decode(), document)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("verify",), signal.SIGINT),
        pytest.param(("verify",), signal.SIGTERM, marks=pytest.mark.full),
        pytest.param(("verify", "--full"), signal.SIGINT, marks=pytest.mark.full),
        pytest.param(("drift",), signal.SIGINT, marks=pytest.mark.full),
        pytest.param(("drift", "--fix"), signal.SIGINT, marks=pytest.mark.full),
        pytest.param(("drift", "--every", "1h"), signal.SIGINT, marks=pytest.mark.full),
        pytest.param(STATUS, signal.SIGINT, marks=pytest.mark.full),
        (STATUS, signal.SIGTERM),
        # One table of it is looked at below.
        pytest.param(("exec", "echo hello"), signal.SIGINT, marks=pytest.mark.full),
        pytest.param(("exec", "echo hello"), signal.SIGTERM, marks=pytest.mark.full),
        pytest.param(("configure", "--dry-run"), signal.SIGINT, marks=pytest.mark.full),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.name,
)
def test_reading_ends_soon_with_what_it_has(
    fleet: Fleet, words: tuple[str, ...], number: signal.Signals
) -> None:
    ended = interrupted(fleet, *words, number=number, finished=len(HOSTS) - len(STALLED))
    assert (ended.code, ended.seconds < SOON) == (EXIT_CODES[number], True), (ended.seconds, ended.stderr)
    document = ended.document
    assert (document["ok"], document["exit_code"], document["error"]) == (False, ended.code, "interrupted")
    assert document["lab"] == NAME
    assert {row["host"] for row in document["results"]} >= set(HOSTS)
    for host in STALLED:
        assert {row["status"] for row in ended.rows(host)} == {"unknown"}, ended.rows(host)
        assert all("interrupted" in row["why"] for row in ended.rows(host)), ended.rows(host)
    for host in set(HOSTS) - STALLED:
        assert all(row["why"] != "interrupted" for row in ended.rows(host)), ended.rows(host)


@pytest.mark.full
def test_a_pair_is_told_as_far_as_it_was_seen(fleet: Fleet) -> None:
    ended = interrupted(fleet, "verify", "--pair", "good:endless", number=signal.SIGINT, finished=1)
    assert (ended.code, ended.seconds < SOON) == (130, True), (ended.seconds, ended.stderr)
    (pair,) = ended.document["pair"]
    assert pair["name"] == "good -> endless"
    assert any(step["observed"] == "interrupted" for step in pair["there"]), pair


def test_a_loop_ends_with_the_run_that_was_interrupted_and_sigterm_is_in_order(fleet: Fleet) -> None:
    ended = interrupted(fleet, "drift", "--every", "1h", number=signal.SIGTERM, finished=2)
    assert (ended.code, ended.seconds < SOON) == (0, True), (ended.seconds, ended.stderr)
    assert (ended.document["exit_code"], ended.document["error"]) == (143, "interrupted")
    assert {row["host"] for row in ended.document["results"]} == set(HOSTS)


def test_the_table_has_the_rows_and_stderr_says_why_it_is_not_all(fleet: Fleet) -> None:
    words = ("exec", "echo hello")
    ended = interrupted(fleet, *words, number=signal.SIGINT, finished=2, output="--no-color")
    assert ended.stdout == "".join(
        [
            "good: hello\nfine: hello\n",
            "silent: (unknown) interrupted\nendless: (unknown) interrupted\n",
        ]
    )
    assert ended.stderr.rstrip().endswith("interrupted")


def test_q_leaves_the_screen_soon_though_a_host_is_stalled(fleet: Fleet) -> None:
    screen = Screen()
    before = logins(fleet)
    with subprocess.Popen(
        fleet.arguments("drift", "--watch"),
        stdin=screen.terminal,
        stdout=screen.terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(screen.terminal)
        try:
            until = time.monotonic() + SECONDS
            while logins(fleet) < before + len(fleet.servers):
                assert time.monotonic() < until, screen.heard.decode()
                time.sleep(0.02)
            began = time.monotonic()
            queued = Queued(process.pid)
            screen.press(b"q")
            said = until_end(process, process.stderr)
            took = time.monotonic() - began - queued.end()
            process.wait()
        finally:
            process.kill()
    screen.close()
    assert (process.returncode, said, took < SOON) == (0, b"", True), took


def test_nobody_is_told_of_a_drift_that_was_interrupted(fleet: Fleet, tmp_path: Path) -> None:
    told = tmp_path / "told"
    ended = interrupted(fleet, "drift", "--on-change", f"cat >{told}", number=signal.SIGINT, finished=2)
    assert ended.code == 130
    assert not told.exists()
    assert "changes" not in ended.document


def test_a_signal_before_anybody_was_asked_names_every_host(fleet: Fleet) -> None:
    script = """
import os, signal, sys
from labrun.runner.engine import session
from labrun.runner.main import main
def ask(self, **_):
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
session.Session.locate = ask
sys.argv = ["labrun", *sys.argv[1:]]
main()
"""
    words = fleet.arguments("--json", "verify")[3:]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, timeout=SECONDS, check=False
    )
    document = json.loads(done.stdout)
    assert done.returncode == 130, done.stderr
    assert [(row["host"], row["status"], row["why"]) for row in document["results"]] == [
        (host, "unknown", "interrupted") for host in HOSTS
    ]
