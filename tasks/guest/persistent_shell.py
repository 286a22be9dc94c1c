"""One root shell over one exec channel that runs script after script: sudo and the session cost once.

Each script runs in its own subshell, so it leaves nothing behind (variables, traps, the working directory)
for the next one. A random word that only both ends of this shell know marks the end of a script's output.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import shlex
import time
from typing import Any

import paramiko

from labrun.bounded import as_integer
from labrun.errors import ConnectionLostError, UnreachableError
from labrun.ports import Completed
from labrun.tasks.guest.exec_channel import (
    ChannelIO,
    Greeting,
    await_status,
    open_channel,
    request_exec,
    too_late,
    why_no_status,
)
from labrun.tasks.guest.output import MOST_BYTES
from labrun.tasks.guest.scripts import grouped

__all__ = ["PersistentShell"]

# An unterminated quote does nothing, and the braces make the shell parse all of it before it runs any;
# the blank line keeps a trailing backslash from joining the closing one.
_TURN = """\
( eval {script} ) </dev/null
printf '\\n%s %s\\n' {mark} $?; printf '\\n%s\\n' {mark} >&2
"""


class PersistentShell:
    """A shell that waits for its next script; ``command`` starts it. Not thread-safe.

    After an error it is closed and ``is_open`` is False, since its state is unknown.
    """

    def __init__(self, transport: paramiko.Transport, command: str):
        self._transport = transport
        self._command = command
        self._channel: Any = None
        self._greeting: Greeting | None = Greeting()
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Tell whether another script can be run."""
        return not self._closed and (self._channel is None or not self._channel.closed)

    def run(self, script: str, *, deadline: float, most: int = MOST_BYTES) -> Completed:
        """Run ``script`` and return its result; ``deadline`` is monotonic.

        If the shell itself ends before the script does (sudo refused, ``exec``), its exit status is
        returned; if it never was one, ``started`` of the result is False. Raises UnreachableError if
        nothing was sent, ConnectionLostError if the connection broke or the deadline passed midway,
        UnreadableError if the streams exceed ``most`` bytes.
        """
        if self._closed:
            raise UnreachableError("the shell is closed", step="session")
        started = time.monotonic()
        try:
            if self._channel is None:
                self._channel = open_channel(self._transport, deadline)
                request_exec(self._channel, self._command)
            greeting, self._greeting = self._greeting, None
            turn = _Turn(self._channel, script, most, first=greeting.script if greeting else "")
            complete = turn.converse(deadline)
            status = turn.status if complete else self._own_status(deadline)
        except EOFError as error:
            self.close()
            raise ConnectionLostError("the connection broke while the script ran", step="script") from error
        except BaseException:
            self.close()
            raise
        if not complete:
            self.close()
        done = Completed(status, _text(turn.talk.out), _text(turn.talk.err), time.monotonic() - started)
        return greeting.taken_out(done) if greeting else done

    def _own_status(self, deadline: float) -> int:
        """Return the shell's exit status; raises ConnectionLostError if it left none."""
        await_status(self._channel, deadline)
        status = self._channel.recv_exit_status() if self._channel.status_event.is_set() else -1
        if status == -1:
            raise ConnectionLostError(why_no_status(self._transport), step="script")
        return int(status)

    def close(self) -> None:
        """End the shell; a script in progress still runs to its end."""
        self._closed = True
        if self._channel is not None:
            # The connection may be gone.
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                self._channel.close()


class _Turn:
    """One script's pass through the shell, and where its output ends."""

    def __init__(self, channel: Any, script: str, most: int, *, first: str = ""):
        mark = f"labrun-{secrets.token_hex(12)}"
        text = first + _TURN.format(script=shlex.quote(grouped(script)), mark=mark)
        unsent = memoryview(text.encode("utf-8", errors="surrogateescape"))
        self.talk = ChannelIO(channel, unsent, most, ends_stdin=False)
        self.status = -1
        self._out_end = f"\n{mark} ".encode()
        self._err_end = f"\n{mark}\n".encode()
        self._out_from = self._err_from = 0

    def converse(self, deadline: float) -> bool:
        """Send and receive until the script has ended; return False if the shell ended first."""
        channel = self.talk.channel
        ready = select.poll()
        ready.register(channel.fileno(), select.POLLIN)
        while True:
            # Checked before reading: everything sent by then is already here.
            over = channel.eof_received or channel.closed
            self.talk.exchange()
            if self._is_complete():
                return True
            if over:
                return False
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise too_late()
            ready.poll(min(remaining, 1.0 if not self.talk.unsent else 0.02) * 1000)

    def _is_complete(self) -> bool:
        """Cut both streams at the end of the script, once both have got there, and keep its status."""
        out, err = self.talk.out, self.talk.err
        end = err.find(self._err_end, self._err_from)
        at = out.find(self._out_end, self._out_from)
        line = out.find(b"\n", at + len(self._out_end)) if at >= 0 else -1
        if end < 0 or line < 0:
            # Skip what has been searched, except for a mark that has arrived in part.
            self._err_from = max(0, len(err) - len(self._err_end))
            self._out_from = at if at >= 0 else max(0, len(out) - len(self._out_end))
            return False
        status = out[at + len(self._out_end) : min(line, at + len(self._out_end) + 8)]
        self.status = as_integer(status.decode("ascii", errors="replace"), "script")
        del out[at:], err[end:]
        return True


def _text(stream: bytearray) -> str:
    return stream.decode("utf-8", errors="replace")
