"""`drift --every` and `--watch` on a real lab whose libvirtd comes and goes, as far as labrun can tell.

The lab's URI names a socket of the test's own, which hands everything on to libvirtd while it is open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.errors import LockedError
from labrun.runner.engine.lock import lab_lock
from labrun.runner.timer.units import Schedule, render_units
from labrun.state import LabState
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab
from tests.webhook_server import webhook_server

pytestmark = pytest.mark.lxc
LIBVIRTD = "/run/libvirt/libvirt-sock"
SECONDS = 120
LAB = """\
name: sch-loop
hypervisor: lxc:///system
networks:
  wire: {mode: isolated, cidr: 10.66.2.0/24}
hosts:
  box: {networks: {wire: 10.66.2.11}, memory: 256, sysctl: {net.ipv4.tcp_syncookies: 1}}
"""


class Gate:
    """A socket that leads to libvirtd while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = f"lxc+unix:///system?socket={path}"
        self._server: socket.socket | None = None
        self._streams: list[socket.socket] = []

    def open(self) -> None:
        """Begin to listen."""
        server = self._server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.path))
        server.listen()
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def close(self) -> None:
        """Cut everybody off, and listen no more."""
        assert self._server is not None
        self.path.unlink()
        for each in (self._server, *self._streams):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._streams.clear()

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                daemon = socket.socket(socket.AF_UNIX)
                daemon.connect(LIBVIRTD)
                self._streams += [client, daemon]
                for source, target in ((client, daemon), (daemon, client)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def gate(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    made = Gate(tmp_path_factory.mktemp("gate") / "libvirt")
    made.open()
    yield made
    made.close()


@pytest.fixture(scope="module")
def lab(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("loop"), LAB)
    made.env["LABRUN_HYPERVISOR"] = gate.uri
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        down = made.run("-y", "down")
        assert down.exit_code == 0, down.stderr


@contextlib.contextmanager
def loop(lab: RunningLab, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the loop; it is ended by SIGTERM, which has to be in order."""
    process = subprocess.Popen(
        lab.arguments("--json", "drift", *words),
        env={**lab.environment(), "no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        assert all(json.loads(line)["command"] == "drift" for line in out.splitlines())
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read documents up to the first that fits."""
    assert process.stdout is not None
    deadline = time.monotonic() + SECONDS
    while True:
        document: dict[str, Any] = json.loads(process.stdout.readline())
        if fits(document):
            return document
        assert time.monotonic() < deadline, document


def ends(code: int) -> Callable[[dict[str, Any]], bool]:
    return lambda document: document["exit_code"] == code


@pytest.mark.full
def test_the_loop_outlives_a_restart_of_the_hypervisor(lab: RunningLab, gate: Gate, tmp_path: Path) -> None:
    metrics = tmp_path / "lab.prom"
    with webhook_server() as inbox:
        with loop(lab, "--every", "1s", "--metrics", str(metrics), "--webhook", inbox.url) as process:
            until(process, ends(0))
            gate.close()
            gone = until(process, ends(5))
            assert gone["error"].startswith(f"libvirt: cannot open {gate.uri}")
            assert 'labrun_run_success{lab="sch-loop"} 0.0\n' in metrics.read_text()
            gate.open()
            until(process, ends(0))
            assert 'labrun_run_success{lab="sch-loop"} 1.0\n' in metrics.read_text()
        bodies = [json.loads(request.body) for request in inbox.received]
    # Once for each change, however many runs there were between them.
    key = {"host": "hypervisor", "section": "run", "name": "drift"}
    assert [
        [{name: change[name] for name in (*key, "before", "after")} for change in body["changes"]]
        for body in bodies
    ] == [
        [{**key, "before": None, "after": "failed"}],
        [{**key, "before": "failed", "after": None}],
    ]
    runs = lab.json("history", "--limit", "3").document["runs"]
    assert {run["command"] for run in runs} == {"drift"}


def test_drift_is_found_while_the_loop_runs(lab: RunningLab) -> None:
    with loop(lab, "--every", "1s") as process:
        until(process, ends(0))
        lab.guest("box", "sysctl -qw net.ipv4.tcp_syncookies=0")
        try:
            found = until(process, ends(3))
        finally:
            lab.guest("box", "sysctl -qw net.ipv4.tcp_syncookies=1")
        (change,) = found["changes"]
        assert (change["host"], change["section"], change["name"]) == (
            "box",
            "sysctl",
            "net.ipv4.tcp_syncookies",
        )
        again = until(process, ends(0))
        assert [(each["name"], each["after"]) for each in again["changes"]] == [
            ("net.ipv4.tcp_syncookies", None)
        ]


def test_a_lab_that_somebody_works_on_is_left_alone(lab: RunningLab, gate: Gate) -> None:
    state = LabState.open("sch-loop", gate.uri, lab.state)
    with loop(lab, "--every", "1s") as process:
        until(process, ends(0))
        for _ in range(SECONDS * 20):  # the loop may be at it just now
            try:
                with lab_lock(state.lock, "configure"):
                    left_out = until(process, lambda document: document["results"][0]["status"] == "skipped")
                break
            except LockedError:
                time.sleep(0.05)
        (row,) = left_out["results"]
        assert (row["host"], left_out["exit_code"]) == ("box", 0)
        assert row["why"].startswith(f"another labrun (pid {os.getpid()}, configure, since ")
        until(process, lambda document: document["results"][0]["status"] == "ok")
    with lab_lock(state.lock, "configure"):
        person = lab.json("drift")
        assert person.exit_code == 1
        assert person.document["error"].startswith(f"another labrun (pid {os.getpid()}, configure, since ")
        assert lab.json("drift", "--skip-locked").statuses() == {"skipped"}


def confined(lab: RunningLab, *, without: str = "") -> set[str]:
    """Run drift with the capabilities of its unit but one; return what its rows of filters say."""
    schedule = Schedule("sch-loop", lab.path, ["/bin/true"], 60.0, None, 0.0, user=False)
    service = render_units(schedule)["labrun-drift-sch-loop.service"]
    (line,) = [each for each in service.splitlines() if each.startswith("CapabilityBoundingSet=")]
    kept = [each for each in line.partition("=")[2].split() if each != without]
    bounding = ",".join(each.lower().replace("cap_", "+") for each in kept)
    done = subprocess.run(
        [
            "setpriv",
            "--no-new-privs",
            "--inh-caps=-all",
            f"--bounding-set=-all,{bounding}",
            *lab.arguments("--json", "drift"),
        ],
        env=lab.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = json.loads(done.stdout)["results"]
    assert {row["host"] for row in rows} == {"hypervisor", "box"}
    return {f"{row['status']}: {row['why'] or ''}" for row in rows if row["section"] == "filter"}


@pytest.mark.full
def test_the_capabilities_of_the_unit_are_enough(lab: RunningLab, gate: Gate) -> None:
    # The rest of a unit's confinement is tested where a systemd runs; there is no libvirtd there.
    assert confined(lab) == {"ok: "}
    # As an older unit has it: what only nftables shows is left out, and all else is compared.
    assert confined(lab, without="CAP_NET_ADMIN") == set()


class Terminal:
    """A command on a terminal of 80 columns and 24 lines."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        # Ctrl-C is a signal only to those whose terminal it is.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            env={**env, "TERM": "xterm-256color"},
            stdin=side,
            stdout=side,
            stderr=side,
        )
        os.close(side)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until the text was shown."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-3000:]
            if select.select([self.main], [], [], 1.0)[0]:
                self.shown += os.read(self.main, 65536).decode("utf-8", "replace")

    def ended(self) -> int:
        """Return the exit code, what is written meanwhile being read."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown[-3000:]
            if select.select([self.main], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.main, 65536).decode("utf-8", "replace")
        return self.process.returncode

    def close(self) -> None:
        """End whatever is left."""
        self.process.kill()
        self.process.wait()
        os.close(self.main)


@pytest.mark.parametrize(("leave", "code"), [("q", 0), ("\x03", 130)])
def test_the_screen_stays_until_somebody_leaves_it(lab: RunningLab, leave: str, code: int) -> None:
    terminal = Terminal(lab.arguments("drift", "--watch", "--every", "2s"), lab.environment())
    try:
        terminal.until("next in")
        terminal.until("q quits")
        for word in ("sch-loop", "box", "sysctl", "changed"):
            terminal.until(word)
        before = termios.tcgetattr(terminal.main)[3] & termios.ICANON
        assert not before, "keys arrive at once"
        os.write(terminal.main, leave.encode())
        assert terminal.ended() == code, terminal.shown[-3000:]
        assert "Traceback" not in terminal.shown
        assert termios.tcgetattr(terminal.main)[3] & termios.ICANON, "the terminal is as it was"
        assert "\x1b[?1049l" in terminal.shown, "and so is what was on it"
    finally:
        terminal.close()
