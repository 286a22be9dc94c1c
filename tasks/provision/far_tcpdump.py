"""tcpdump on another machine, over a root shell there: begun by a script, ended with its input."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import IO

from labrun.tasks.provision.hypervisor_shell import root_shell

__all__ = ["begin_far", "far_command"]

# A line that is cut is noticed after about this many seconds, not when TCP gives up.
_ALIVE = ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
# No signal gets through ssh, and tcpdump writes what it has only when it is told to end. So the end of the
# shell's input tells it. The last line is one, since the shell reads its script from that input.
_SCRIPT = """\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
command -v tcpdump >/dev/null || {{ echo "tcpdump is not installed there" >&2; exit 1; }}
exec 3<&0
{command} 3<&- </dev/null &
pid=$!
(cat <&3; kill -TERM $pid) >/dev/null 2>&1 &
wait $pid; exit $?
"""


def far_command(uri: str) -> list[str]:
    """Return the command that waits for the script of :func:`begin_far`. Raises HypervisorError."""
    ssh, *rest = root_shell(uri, "capture")
    return [ssh, *_ALIVE, *rest]


def begin_far(stream: IO[bytes], command: Sequence[str]) -> None:
    """Write the script that runs tcpdump until the stream is closed. One that has ended says so itself."""
    with contextlib.suppress(OSError):
        stream.write(_SCRIPT.format(command=shlex.join(command)).encode())
        stream.flush()
