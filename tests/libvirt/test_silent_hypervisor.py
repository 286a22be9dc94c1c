"""A hypervisor that does not answer is a message in time for every command; a signal ends labrun at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from labrun.runner.commands import VERBS
from tests.own_libvirtd import OwnLibvirtd, own_libvirtd
from tests.unit.command_line import run_labrun

LAB = """\
name: silence-{name}
networks:
  n: {{cidr: 10.64.0.0/24}}
  m: {{mode: isolated, cidr: 10.64.1.0/24}}
  o: {{mode: isolated, cidr: 10.64.2.0/24}}
hosts:
  r: {{role: router, networks: {{n: dhcp, m: 10.64.1.254, o: 10.64.2.254}}}}
  a: {{networks: {{m: dhcp}}}}
  b: {{networks: {{m: 10.64.1.11}}}}
  c: {{networks: {{o: 10.64.2.11}}}}
"""
# How each command is called, and whether it asks libvirt for anything; None = if that is on this machine.
COMMANDS: dict[str, tuple[list[str], bool | None]] = {
    "plan": (["plan"], True),
    "up": (["up"], True),
    "configure": (["configure"], True),
    "verify": (["verify"], True),
    "drift": (["drift"], True),
    "graph": (["graph"], False),
    "report": (["report", "--html", "page.html"], False),
    "break": (["break"], True),
    "mend": (["mend"], True),
    "lesson": (["lesson", "start"], True),
    "init": (["init", "--lab", "new.yaml"], False),
    "run": (["run", "hello.py"], True),
    "fleet": (["fleet", "init", "ann@site"], False),
    "mcp": (["mcp"], False),  # its tools ask, each by a labrun of its own
    "status": (["status"], True),
    "net": (["net"], True),
    "capture": (["capture", "a"], True),
    "tc": (["tc", "a", "--clear"], True),
    "history": (["history"], False),
    "show": (["show", "last"], False),
    "diff": (["diff", "a", "b"], False),
    "ssh": (["ssh", "a", "true"], True),
    "exec": (["exec", "true"], True),
    "console": (["console", "a"], True),
    "log": (["log", "a"], False),  # asks the firewall, not libvirt
    "inventory": (["inventory", "--format", "json"], True),
    "start": (["start"], True),
    "stop": (["stop"], True),
    "restart": (["restart"], True),
    "down": (["down"], True),
    "snapshot": (["snapshot", "save", "x"], None),
    "fork": (["fork", "x"], None),
    "drop": (["drop", "x"], False),
    "image": (["image", "list"], False),
    "host-bridge": (["host-bridge", "show"], False),
    "doctor": (["doctor"], False),  # says so in a finding: a test of its own
    "list": (["list"], False),  # the hypervisors of this machine, not the lab's
    "validate": (["validate"], False),
    "schema": (["schema"], False),
    "schedule": (["schedule", "status"], False),
    "completion": (["completion", "bash"], False),
}
ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143}
SECONDS = 60.0  # a start of labrun takes some on a busy machine, and a hang has no end


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[OwnLibvirtd]:
    with own_libvirtd() as running:
        yield running


@contextmanager
def silent_port() -> Iterator[int]:
    """Listen on a port, and say nothing: the kernel takes the connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()[1]


@contextmanager
def silent_ssh(folder: Path) -> Iterator[Path]:
    """Yield a directory with an ``ssh`` that says nothing, and notes the process that it is."""
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $$ >>{folder}/started\nexec sleep 300\n")
    program.chmod(0o755)
    yield program.parent


def lab_in(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    # For root the lock of a lab is one for the machine.
    (folder / "lab.yaml").write_text(LAB.format(name=folder.name))
    (folder / "hello.py").write_text("def hello(task):\n    pass\n")
    return folder


def test_every_command_is_in_the_table() -> None:
    assert COMMANDS.keys() == VERBS.keys()


@pytest.mark.parametrize("kind", [pytest.param("port", marks=pytest.mark.full), "ssh", "stopped"])
def test_every_command_says_that_the_hypervisor_is_silent(
    tmp_path: Path, libvirtd: OwnLibvirtd, kind: str
) -> None:
    asking = [args for args, asks in COMMANDS.values() if asks or (asks is None and kind == "stopped")]
    with silent_port() as port, silent_ssh(tmp_path) as programs:
        uri = {
            "port": f"qemu+tcp://127.0.0.1:{port}/system",
            "ssh": "qemu+ssh://someone@hypervisor.test/system",
            "stopped": libvirtd.uri,
        }[kind]
        env = {"LABRUN_HYPERVISOR": uri}
        if kind == "ssh":
            env["PATH"] = f"{programs}:{os.environ['PATH']}"

        def run(args: list[str]) -> tuple[list[str], subprocess.CompletedProcess[str]]:
            folder = lab_in(tmp_path / args[0])
            words = ["-y", "--timeout", "1", "--state-dir", "state", *args]
            return args, run_labrun(*words, cwd=folder, env=env, timeout=SECONDS)

        if kind == "stopped":
            with libvirtd.stopped(), ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(run, asking))
        else:
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(run, asking))
    expected = f"error: libvirt: {uri} does not answer: no reply in 1 s\nhint: "
    wrong = [(args, done) for args, done in answers if done.returncode != 5 or expected not in done.stderr]
    assert wrong == []
    if kind == "ssh":
        # Nobody is left waiting for a login when labrun has gone.
        started = [int(line) for line in (tmp_path / "started").read_text().split()]
        # Where the second was over before ssh had begun, on a busy machine, there is nobody.
        assert len(started) > len(asking) / 2
        assert [pid for pid in started if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Return whether it is the sleep that stands for ssh; one that has ended stays until it is collected."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "Name:\tsleep" in status and "State:\tZ" not in status


def test_what_asks_no_hypervisor_does_not_wait_for_it(tmp_path: Path, libvirtd: OwnLibvirtd) -> None:
    with libvirtd.stopped():
        for args, asks in COMMANDS.values():
            if asks is not False or args == ["doctor"]:
                continue
            env = {"LABRUN_HYPERVISOR": libvirtd.uri}
            # `image list` shows what uses an image where a hypervisor tells in time.
            words = ("--timeout", "2", *args)
            done = run_labrun(*words, cwd=lab_in(tmp_path / "x"), env=env, timeout=SECONDS)
            assert ("does not answer" in done.stderr) is (args == ["image", "list"]), args


def test_the_list_of_images_waits_a_moment_only_and_says_for_whom(
    tmp_path: Path, libvirtd: OwnLibvirtd
) -> None:
    with libvirtd.stopped():
        env = {"LABRUN_HYPERVISOR": libvirtd.uri}
        began = time.monotonic()
        done = run_labrun("image", "list", cwd=lab_in(tmp_path / "x"), env=env, timeout=SECONDS)
        # By itself, a command waits for 30 s.
        assert time.monotonic() - began < 25
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        f"machines that use an image may be missing here: {libvirtd.uri} does not answer: no reply in 5 s ("
    )
    assert "debian-12" in done.stdout


def test_a_doctor_says_it_and_looks_at_the_rest(tmp_path: Path, libvirtd: OwnLibvirtd) -> None:
    with libvirtd.stopped():
        env = {"LABRUN_HYPERVISOR": libvirtd.uri}
        words = ("--json", "--timeout", "1", "doctor")
        done = run_labrun(*words, cwd=lab_in(tmp_path / "x"), env=env, timeout=SECONDS)
    findings = {each["name"]: each for each in json.loads(done.stdout)["doctor"]}
    assert done.returncode == 5
    assert findings["libvirt"]["what"] == f"{libvirtd.uri} does not answer: no reply in 1 s"
    assert (findings["kvm"]["status"], findings["inotify"]["status"]) == ("skipped", "ok")


def test_the_json_document_has_the_message_too(tmp_path: Path) -> None:
    with silent_port() as port:
        env = {"LABRUN_HYPERVISOR": f"qemu+tcp://127.0.0.1:{port}/system"}
        done = run_labrun(
            "--json", "--timeout", "1", "plan", cwd=lab_in(tmp_path / "x"), env=env, timeout=SECONDS
        )
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["ok"]) == (5, 5, False)
    assert document["error"] == (
        f"libvirt: qemu+tcp://127.0.0.1:{port}/system does not answer: no reply in 1 s"
    )


@pytest.mark.parametrize("number", ENDED_BY)
@pytest.mark.parametrize(
    "words",
    [
        ["up"],
        ["status"],
        pytest.param(["exec", "true"], marks=pytest.mark.full),
        pytest.param(["-y", "down"], marks=pytest.mark.full),
    ],
)
def test_a_signal_ends_a_command_that_waits_for_libvirt(
    tmp_path: Path, number: signal.Signals, words: list[str]
) -> None:
    folder = lab_in(tmp_path / "x")
    with silent_port() as port:
        env = {**os.environ, "LABRUN_HYPERVISOR": f"qemu+tcp://127.0.0.1:{port}/system"}
        command = [sys.executable, "-m", "labrun", "--json", "--state-dir", "state", *words]
        with subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for_connection(process.pid, port)
            process.send_signal(number)
            began = time.monotonic()
            out, err = process.communicate(timeout=SECONDS)
            seconds = time.monotonic() - began
    code = ENDED_BY[number]
    document = json.loads(out)
    assert (process.returncode, document["exit_code"], document["error"]) == (code, code, "interrupted")
    assert err.splitlines()[-1:] == ["interrupted"]
    # The last moment that a call gets is 0.7 s; without a signal it would have been 30.
    assert seconds < 20


def wait_for_connection(pid: int, port: int) -> None:
    """Wait until the process is connected to the port of this machine."""
    deadline = time.monotonic() + SECONDS
    wanted = f":{port:04X} 01 "
    while time.monotonic() < deadline:
        sockets = set(descriptors(pid))
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"{fields[2][8:]} {fields[3]} " == wanted and f"socket:[{fields[9]}]" in sockets:
                return
        time.sleep(0.02)
    raise AssertionError("it never connected")


def descriptors(pid: int) -> Iterator[str]:
    """Yield what the process has open; descriptors come and go meanwhile."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(entry.readlink())


# Two threads are in the middle of a call, and a third call comes later: each must end. Then the next run of a
# loop, with libvirtd back.
IN_THE_MIDDLE = """
import os, signal, sys, threading, time
from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.libvirt_calls import begin, is_blocked
uri, pid = sys.argv[1], int(sys.argv[2])
begin(1.5)
connection = connect(uri)
os.kill(pid, signal.SIGSTOP)
said = []
began = time.monotonic()
def ask():
    try:
        connection.listAllDomains()
    except HypervisorError as error:
        said.append(error.reason.replace(uri, "URI"))
threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
assert time.monotonic() - began < 40
again = time.monotonic()
ask()
assert time.monotonic() - again < 1.2
print(*said, sep="\\n")
assert is_blocked()
os.kill(pid, signal.SIGCONT)
begin(20)
print(connect(uri).listAllDomains())
sys.stdout.flush()
os._exit(0)
"""


def test_calls_in_progress_end_when_libvirtd_stands_still(libvirtd: OwnLibvirtd) -> None:
    command = [sys.executable, "-c", IN_THE_MIDDLE, libvirtd.uri, str(libvirtd.pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    message = "URI does not answer: no reply in 2 s"
    assert done.stdout.splitlines() == [message] * 3 + ["[]"]


# A call that takes longer than the patience, of a libvirtd that answers: nothing is wrong with it.
SLOW = """
import sys, time
import libvirt
from labrun.hypervisor import connect
from labrun.libvirt_calls import begin, watch
class Slow:
    virConnectGetHostname = staticmethod(lambda connection: time.sleep(6) or "slow")
    def __getattr__(self, name):
        return getattr(library, name)
library = libvirt.libvirtmod
libvirt.libvirtmod = Slow()
begin(3)
print(connect(sys.argv[1]).getHostname())
"""


def test_a_slow_call_of_a_hypervisor_that_answers_is_waited_for(libvirtd: OwnLibvirtd) -> None:
    command = [sys.executable, "-c", SLOW, libvirtd.uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "slow\n", "")


# Libvirt's own way to another machine is a program like ssh; this one leads to a socket here. Once it is cut,
# whoever is connected hears no more, and whoever comes is told at once that there is no way.
RELAY = """\
#!{python}
import os, pathlib, select, socket, sys
here = pathlib.Path(__file__).parent
if (here / "cut").exists():
    sys.exit("no route to host")
(here / f"pid-{{os.getpid()}}").touch()
link = socket.socket(socket.AF_UNIX)
link.connect("{socket}")
while True:
    for ready in select.select([0, link], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else link.recv(65536)
        if not data:
            sys.exit()
        link.sendall(data) if ready == 0 else os.write(1, data)
"""
CUT = """
import os, pathlib, signal, sys
from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.libvirt_calls import begin, watch
uri, here = sys.argv[1], pathlib.Path(sys.argv[2])
begin(3)
connection = connect(uri)
connection.listAllDomains()
(here / "cut").touch()
for each in here.glob("pid-*"):
    os.kill(int(each.name[4:]), signal.SIGSTOP)
try:
    connection.listAllDomains()
except HypervisorError as error:
    print(error.reason.replace(uri, "URI"))
"""


def test_a_hypervisor_whose_link_is_cut_is_silent_though_each_question_fails_at_once(
    tmp_path: Path, libvirtd: OwnLibvirtd
) -> None:
    """The process ends as well: the connection that nobody answers is not closed."""
    relay = tmp_path / "relay"
    relay.write_text(RELAY.format(python=sys.executable, socket=libvirtd.uri.partition("socket=")[2]))
    relay.chmod(0o755)
    command = [sys.executable, "-c", CUT, f"qemu+ext://far/session?command={relay}", str(tmp_path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "URI does not answer: no reply in 3 s\n"
    finally:
        for each in tmp_path.glob("pid-*"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(each.name[4:]), signal.SIGKILL)


# Two machines of a lab are worked on, as `up`, `down` and `stop` do, when libvirtd stands still.
A_RUN = """
import os, signal, sys
from labrun.hypervisor import connect
from labrun.runner.engine.runner_plugin import Interrupted
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
uri, pid = sys.argv[1], int(sys.argv[2])
connection = connect(uri)
def look(task):
    os.kill(pid, signal.SIGSTOP)
    os.write(1, b"asking\\n")  # whole, though two do
    connection.listAllDomains()
with hypervisor_engine(uri, {"a": {}, "b": {}}) as nornir:
    try:
        nornir.run(look)
    except Interrupted as ended:
        for host, result in ended.partial.items():
            print(host, result[0].exception.reason.replace(uri, "URI").rpartition(" in ")[0], flush=True)
os._exit(0)
"""


def test_a_signal_ends_a_run_that_changes_machines_too(libvirtd: OwnLibvirtd) -> None:
    command = [sys.executable, "-c", A_RUN, libvirtd.uri, str(libvirtd.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["asking\n"] * 2
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            out, err = process.communicate(timeout=SECONDS)
        finally:
            os.kill(libvirtd.pid, signal.SIGCONT)
    message = "URI does not answer: no reply"
    assert (process.returncode, out.splitlines()) == (0, [f"a {message}", f"b {message}"]), err
    assert time.monotonic() - began < 20
