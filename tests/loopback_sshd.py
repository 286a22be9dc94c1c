"""A real sshd on loopback for the tests of everything that logs in: own port, own keys, ended by pid."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nornir.core.inventory import ConnectionOptions, Host

from labrun.key_pairs import make_host_key
from labrun.state import LabState
from labrun.state_files import write_private

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True, slots=True)
class LoopbackSshd:
    """Where it listens, whom it lets in with which key, and a state directory that knows it."""

    port: int
    user: str
    directory: Path
    state: LabState
    process: subprocess.Popen[bytes]

    def extras(self, **changes: Any) -> dict[str, Any]:
        """Return the strict connection options for it."""
        return {
            "key_file": str(self.state.identity),
            "alt_host_keys": True,
            "alt_key_file": str(self.state.known_hosts),
            "host_key_alias": "loop",
            **changes,
        }

    def host(self, name: str = "loop", *, port: int | None = None, **changes: Any) -> Host:
        """Return a Nornir host that is this sshd."""
        options = ConnectionOptions(extras=self.extras(**changes))
        return Host(
            name,
            hostname="127.0.0.1",
            port=port or self.port,
            username=self.user,
            platform="linux",
            connection_options={"labrun-ssh": options},
        )


def free_port() -> int:
    """Return a TCP port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def loopback_sshd(directory: Path, **settings: str) -> Iterator[LoopbackSshd]:
    """Run sshd in ``directory`` until the block ends; ``settings`` are further sshd keywords."""
    state = LabState.open("loop", "test:///default", directory / "state")
    state.ensure_keys()
    key = make_host_key("loopback")
    write_private(directory / "host_key", key.private)
    port = free_port()
    state.remember_host_keys({"loop": (["127.0.0.1", f"[127.0.0.1]:{port}"], key.public)})
    (directory / "authorized_keys").write_text(state.public_key + "\n", encoding="utf-8")
    config = {
        "Port": str(port),
        "ListenAddress": "127.0.0.1",
        "HostKey": f'"{directory / "host_key"}"',
        "AuthorizedKeysFile": f'"{str(directory / "authorized_keys").replace("%", "%%")}"',
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "200",
        **settings,
    }
    lines = "".join(f"{keyword} {value}\n" for keyword, value in config.items())
    (directory / "sshd_config").write_text(lines, encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    assert Path(SSHD).exists(), "no sshd here: install openssh-server"
    with (directory / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(directory / "sshd_config")], stderr=log)
    try:
        _await_listening(process, port, directory / "sshd.log")
        yield LoopbackSshd(port, getpass.getuser(), directory, state, process)
    finally:
        process.terminate()
        process.wait(60)


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"sshd does not listen: {log.read_text(encoding='utf-8', errors='replace')}")
