"""Hosts that are not there: one SSH server on loopback that answers labrun's scripts with recorded output.

Each address of 127.0.0.0/8 is a host of its own to whoever logs in. What travels is what travels otherwise:
a real login, a real script, a real answer; only the shell is missing. So thousands of hosts cost the machine
little, and what labrun itself costs can be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import signal
import socket
from pathlib import Path

import asyncssh

from tests import places

__all__ = ["main", "recorded_answer", "reply"]

_RECORDED_MARK = "labrun-recorded"
_BACKLOG = 4096
_CHUNK = 64 * 1024
_SO_BINDTODEVICE = 25
# The words that labrun draws for each script: what it prints first, what frames the answer, what ends a turn.
_GREETING = re.compile(rb"printf '?\W*\\n%s\\n\W* (labrun-[0-9a-f]{24}) >&2; trap - PIPE")
_MARK = re.compile(rb"\bm=\W*(labrun-[0-9a-f]{24})")
_TURN = re.compile(rb"\nprintf '\\n%s %s\\n' (labrun-[0-9a-f]{24}) \$\?; printf '\\n%s\\n' \1 >&2\n$")


def recorded_answer() -> bytes:
    """Return what a configured host printed once, for everything that verify, drift and configure ask."""
    healthy = json.loads((places.RECORDED / "collect" / "healthy.json").read_text(encoding="utf-8"))["r"]
    folder = places.RECORDED / "configure" / "host-configured"
    configured = (folder / "gathered.txt").read_text(encoding="utf-8")
    frames = _frames(configured, "labrun-case") | _frames(healthy["stdout"], healthy["mark"])
    # The list of one gather's files would hide those of the other, and the lab file has no default route.
    del frames["files"]
    routes = json.loads(frames["out route4"])
    frames["out route4"] = json.dumps([route for route in routes if route["dst"] != "default"])
    frames["end"] = frames.pop("end")
    return "".join(f"\n{_RECORDED_MARK} {head}\n{body}" for head, body in frames.items()).encode() + b"\n"


def _frames(output: str, mark: str) -> dict[str, str]:
    """Return the bodies of a recorded answer by what stands in front of each."""
    parts = (part.partition("\n") for part in output.split(f"\n{mark} ")[1:])
    return {head: body for head, _, body in parts}


def reply(script: bytes, recorded: bytes) -> tuple[bytes, bytes] | None:
    """Return stdout and stderr for a script; None while a turn of a persistent shell is not complete."""
    mark, greeting, turn = _MARK.search(script), _GREETING.search(script), _TURN.search(script)
    out = recorded.replace(_RECORDED_MARK.encode(), mark.group(1)) if mark else b""
    err = b"\n%s\n" % greeting.group(1) if greeting else b""
    if turn:
        return out + b"\n%s 0\n" % turn.group(1), err + b"\n%s\n" % turn.group(1)
    return out, err


class _Server(asyncssh.SSHServer):
    """Lets in whoever has the one key."""

    def begin_auth(self, username: str) -> bool:
        return True


class _Simulation:
    def __init__(self) -> None:
        self._recorded = recorded_answer()
        self.scripts = 0

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Answer the scripts of one channel: one, ended by the end of input, or turn after turn."""
        script = b""
        while data := await process.stdin.read(_CHUNK):
            script += data
            if _TURN.search(script):
                self._answer(process, script)
                script = b""
        if script:
            self._answer(process, script)
        process.exit(0)

    def _answer(self, process: asyncssh.SSHServerProcess[bytes], script: bytes) -> None:
        answer = reply(script, self._recorded)
        if answer is not None:
            self.scripts += 1
            process.stdout.write(answer[0])
            process.stderr.write(answer[1])


def _loopback(port: int) -> socket.socket:
    """Return a socket that listens on every address of loopback, and on no other device."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
    listening.bind(("0.0.0.0", port))
    listening.listen(_BACKLOG)
    return listening


async def _serve(port: int, host_key: Path, authorized: Path) -> None:
    simulation = _Simulation()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    listening = _loopback(port)
    await asyncssh.listen(
        sock=listening,
        server_factory=_Server,
        server_host_keys=[str(host_key)],
        authorized_client_keys=str(authorized),
        process_factory=simulation.handle,
        encoding=None,
        kex_algs=["curve25519-sha256", "curve25519-sha256@libssh.org"],
        line_editor=False,
        login_timeout=600,
    )
    print(listening.getsockname()[1], flush=True)
    await stopped.wait()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"scripts": simulation.scripts, "cpu": used.ru_utime + used.ru_stime}), flush=True)


def main() -> None:
    """Listen until SIGTERM. Print the port first, and at the end what it has cost, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_hosts", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host-key", type=Path, required=True)
    parser.add_argument("--authorized", type=Path, required=True)
    found = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(found.port, found.host_key, found.authorized))


if __name__ == "__main__":
    main()
