"""tcpdump on another machine, over a root shell there: begun by a script, ended with its input."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import IO

from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.hypervisor_shell import root_shell

__all__ = ["begin_far", "far_command"]

# A line that is cut is noticed after about this many seconds, not when TCP gives up.
_ALIVE = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]


def far_command(uri: str) -> list[str]:
    """Return the command that waits for the script of :func:`begin_far`. Raises HypervisorError."""
    ssh, *rest = root_shell(uri, "capture")
    return [ssh, *_ALIVE, *rest]


def begin_far(stream: IO[bytes], command: Sequence[str]) -> None:
    """Write the script that runs tcpdump until the stream is closed. One that has ended says so itself."""
    with contextlib.suppress(OSError):
        script = assigned({"command": shlex.join(command)}) + hypervisor_script("far_tcpdump")
        stream.write(script.encode())
        stream.flush()
