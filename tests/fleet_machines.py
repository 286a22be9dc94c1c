"""Other machines on this one: network namespaces with an sshd, a home and a view of files of their own."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.key_pairs import make_host_key
from labrun.runner.engine.fleet.machine import BASE
from labrun.runner.engine.fleet.wheel import own_wheel, pins
from labrun.state_files import write_private
from tests.built import environment
from tests.loopback_sshd import SSHD

__all__ = ["FleetMachine", "Site", "fleet_machines"]

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Site:
    """Where a lab is: its bridge in the network of this process, and the machines' addresses on it."""

    daemon: int
    bridge: str
    addresses: Sequence[str]


@dataclass(frozen=True, slots=True)
class FleetMachine:
    """A machine: its address, its home, its network namespace, and the files to log in with."""

    address: str
    home: Path
    namespace: str
    identity: Path
    known_hosts: Path

    @property
    def name(self) -> str:
        """Return it as `labrun fleet init` is told."""
        return f"root@{self.address}"

    @property
    def base(self) -> Path:
        """Return where labrun puts what it puts there."""
        return self.home / BASE

    def pids(self) -> list[int]:
        """Return its processes, but for its sshd."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True
        )
        pids = map(int, listed.stdout.split())
        return [pid for pid in pids if b"sshd" not in _command(pid)]

    def worker(self) -> int:
        """Return the process ID of its only worker."""
        (pid,) = [pid for pid in self.pids() if b"fleet.worker" in _command(pid)]
        return pid

    def kill_worker(self) -> None:
        """Kill the worker at once."""
        os.kill(self.worker(), signal.SIGKILL)

    def have_installed(self) -> None:
        """Put there what `labrun fleet install` would install: packages are links to those of the tests."""
        wheel = own_wheel()
        self.base.mkdir(parents=True, exist_ok=True)
        file = self.base.parent / wheel.name
        file.write_bytes(wheel.content)
        environment(self.base / wheel.folder, file)
        versions = sorted(pins(frozenset({"fleet"})).items())
        lines = "".join(f"{name}=={version}\n" for name, version in versions)
        mark = f"{wheel.source} {hashlib.sha256(lines.encode()).hexdigest()}"
        (self.base / wheel.folder / "ready").write_text(f"{mark}\n", encoding="ascii")


@contextmanager
def fleet_machines(
    folder: Path, number: int, count: int, *, hidden: Path | None = None, site: Site | None = None
) -> Iterator[list[FleetMachine]]:
    """Make machines with ``number`` in names and addresses, which do not see the ``hidden`` folder."""
    identity, known_hosts = folder / "id", folder / "known_hosts"
    pair = make_host_key("fleet")
    write_private(identity, pair.private)
    (folder / "authorized_keys").write_text(f"{pair.public}\n", encoding="ascii")
    with ExitStack() as stack:
        machines = []
        for index in range(count):
            name, first = f"labrun-fleet-{number}-{index}", 4 * index
            address = f"10.98.{number}.{first + 2}"
            home = folder / f"home{index}"
            home.mkdir()
            machine = FleetMachine(address, home, name, identity, known_hosts)
            stack.enter_context(_namespace(machine, f"f{number}.{index}", f"10.98.{number}.{first + 1}"))
            if site is not None:
                _cable(machine, f"s{number}.{index}", site, site.addresses[index])
            key = make_host_key("machine")
            write_private(home / "host_key", key.private)
            with known_hosts.open("a", encoding="ascii") as file:
                file.write(f"{address} {key.public.rpartition(' ')[0]}\n")
            stack.enter_context(_sshd(machine, folder, hidden))
            machines.append(machine)
        yield machines


@contextmanager
def _namespace(machine: FleetMachine, cable: str, here: str) -> Iterator[None]:
    name = machine.namespace
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", cable], capture_output=True, check=False)
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "up0", "netns", name)
        _run("ip", "address", "add", f"{here}/30", "dev", cable)
        _run("ip", "link", "set", cable, "up")
        _run("ip", "-n", name, "address", "add", f"{machine.address}/30", "dev", "up0")
        _run("ip", "-n", name, "link", "set", "up0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        for pid in map(int, listed.stdout.split()):
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "link", "delete", cable], capture_output=True, check=False)
        _run("ip", "netns", "delete", name)


def _cable(machine: FleetMachine, cable: str, site: Site, address: str) -> None:
    """Plug the machine into a bridge that is in the network of a process."""
    there = ("nsenter", "-t", str(site.daemon), "-n")
    name = machine.namespace
    _run(
        "ip",
        "-n",
        name,
        "link",
        "add",
        "lab0",
        "type",
        "veth",
        "peer",
        "name",
        cable,
        "netns",
        str(site.daemon),
    )
    _run(*there, "ip", "link", "set", cable, "up", "master", site.bridge)
    _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "lab0")
    _run("ip", "-n", name, "link", "set", "lab0", "up")


@contextmanager
def _sshd(machine: FleetMachine, folder: Path, hidden: Path | None) -> Iterator[None]:
    config = {
        "Port": "22",
        "ListenAddress": machine.address,
        "HostKey": str(machine.home / "host_key"),
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "200",
        "SetEnv": f"HOME={machine.home}",
    }
    path = machine.home / "sshd_config"
    path.write_text("".join(f"{key} {value}\n" for key, value in config.items()), encoding="utf-8")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    # `ip netns exec` gives it a mount namespace of its own, in which it does not see the controller's files.
    hide = f"mount -t tmpfs none {shlex.quote(str(hidden))} && " if hidden is not None else ""
    script = f"{hide}exec {SSHD} -D -e -f {shlex.quote(str(path))}"
    with (machine.home / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", machine.namespace, "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + _SECONDS
        while not _listens(machine.address):
            assert time.monotonic() < until, (machine.home / "sshd.log").read_text()
            assert process.poll() is None, (machine.home / "sshd.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, 22)) == 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
