"""Run one script over one exec channel: stdin, both streams and the exit status, within a deadline."""

from __future__ import annotations

import secrets
import select
import time
from dataclasses import dataclass, field, replace
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from labrun.errors import ConnectionLostError, UnreachableError
from labrun.ports import Completed
from labrun.tasks.guest.output import MOST_BYTES, require_size

__all__ = [
    "ChannelIO",
    "Greeting",
    "await_status",
    "open_channel",
    "request_exec",
    "run_script",
    "too_late",
    "why_no_status",
]

_CHUNK = 32 * 1024
# A background process may keep the streams open after the script has ended (seconds).
_LINGER = 1.0
_NO_STATUS = -1


class Greeting:
    """What shows that a shell reads what it is sent: it prints a random word on stderr first.

    A login may end at once, or run something else, with any output and exit status.
    """

    def __init__(self) -> None:
        self._word = f"labrun-{secrets.token_hex(12)}"

    @property
    def script(self) -> str:
        """Return the line to send first; the shell has to run it before it parses the next one."""
        # There may be no reader left; the script is run all the same.
        return f"trap '' PIPE; printf '\\n%s\\n' {self._word} >&2; trap - PIPE\n"

    def taken_out(self, done: Completed) -> Completed:
        """Return the result, without the word and what the login had printed on stderr before it."""
        before, word, after = done.stderr.partition(f"\n{self._word}\n")
        return replace(done, stderr=after if word else before, started=bool(word))


@dataclass(slots=True)
class ChannelIO:
    """What is left to send and what has been received, at most ``most`` bytes on both streams together.

    ``ends_stdin`` = send EOF on stdin once everything has been sent.
    """

    channel: Any
    unsent: memoryview
    most: int
    ends_stdin: bool = True
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    closed_stdin: bool = False

    def exchange(self) -> bool:
        """Send what the window allows and read what has arrived; return True if anything moved.

        Raises UnreadableError if the streams exceed ``most`` bytes.
        """
        moved = self._send()
        moved = self._receive() or moved
        require_size(len(self.out) + len(self.err), self.most, out=self.out, err=self.err)
        return moved

    def _send(self) -> bool:
        moved = False
        try:
            while self.unsent and self.channel.send_ready():
                sent = self.channel.send(bytes(self.unsent[:_CHUNK]))
                if not sent:
                    break
                self.unsent = self.unsent[sent:]
                moved = True
            if self.ends_stdin and not self.unsent and not self.closed_stdin:
                self.closed_stdin = True
                self.channel.shutdown_write()
        except OSError:
            # The shell ended before it had read everything; its exit status says why.
            self.unsent = memoryview(b"")
            self.closed_stdin = True
        return moved

    def _receive(self) -> bool:
        before = len(self.out) + len(self.err)
        # An endless writer may be as fast as the reader, so check on every read.
        while self.channel.recv_ready() and len(self.out) <= self.most:
            self.out += self.channel.recv(_CHUNK)
        while self.channel.recv_stderr_ready() and len(self.err) <= self.most:
            self.err += self.channel.recv_stderr(_CHUNK)
        return len(self.out) + len(self.err) > before


def run_script(
    transport: paramiko.Transport, command: str, script: str, *, deadline: float, most: int = MOST_BYTES
) -> Completed:
    """Feed ``script`` to ``command`` and read until both streams end; ``deadline`` is monotonic.

    Raises UnreachableError if nothing was started, ConnectionLostError if the connection broke or the
    deadline passed midway, UnreadableError if the streams exceed ``most`` bytes.
    """
    started = time.monotonic()
    channel = open_channel(transport, deadline)
    try:
        request_exec(channel, command)
        talk = ChannelIO(channel, memoryview(script.encode("utf-8", errors="surrogateescape")), most)
        _converse(talk, deadline)
        status = channel.recv_exit_status() if channel.status_event.is_set() else _NO_STATUS
        if status == _NO_STATUS:
            raise ConnectionLostError(why_no_status(transport), step="script")
    except EOFError as error:
        raise ConnectionLostError("the connection broke while the script ran", step="script") from error
    finally:
        channel.close()
    out, err = (part.decode("utf-8", errors="replace") for part in (talk.out, talk.err))
    return Completed(status, out, err, time.monotonic() - started)


def open_channel(transport: paramiko.Transport, deadline: float) -> Any:
    """Return a new session channel; raises UnreachableError if none opens before ``deadline``."""
    try:
        # 0 would mean paramiko's default of an hour.
        return transport.open_session(timeout=max(0.001, deadline - time.monotonic()))
    except paramiko.ChannelException as error:
        reason = f"sshd refuses another session: {error.text}"
        raise UnreachableError(reason, step="session", hint="MaxSessions must be 4 or more") from error
    except Exception as error:
        # Deliberately broad: exceptions that a server's messages cause in paramiko's thread surface here.
        reason = "the connection was gone before the script was sent"
        if transport.is_active():
            reason = "no session was opened in time; nothing was run"
        raise UnreachableError(reason, step="session") from error


def request_exec(channel: Any, command: str) -> None:
    """Start ``command`` on the channel without waiting for the reply."""
    # paramiko's exec_command waits for the reply without a limit. Sent this way, the script follows at
    # once, and a refusal closes the channel.
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)
    message.add_string(command)
    channel.transport._send_user_message(message)


def _converse(talk: ChannelIO, deadline: float) -> None:
    channel = talk.channel
    ready = select.poll()
    ready.register(channel.fileno(), select.POLLIN)
    ended: float | None = None
    while True:
        # Checked before reading: everything sent by then is already here.
        complete = channel.eof_received or channel.closed
        moved = talk.exchange()
        if complete:
            await_status(channel, deadline)
            return
        now = time.monotonic()
        if channel.exit_status_ready():
            ended = now if moved or ended is None else ended
            if now - ended >= _LINGER:
                return
        if now >= deadline:
            raise too_late()
        wait = min(deadline - now, _LINGER if ended is not None or not talk.unsent else 0.02)
        ready.poll(wait * 1000)


def too_late() -> ConnectionLostError:
    """Return the error for a script that ran out of time."""
    reason = "the script did not finish in time; it may still be running"
    return ConnectionLostError(reason, step="script", hint="--timeout allows more")


def await_status(channel: Any, deadline: float) -> None:
    """Wait briefly for the exit status of the command on the channel."""
    # The exit status may arrive after the end of the streams, but not much later.
    channel.status_event.wait(max(0.0, min(deadline - time.monotonic(), 10.0)))


def why_no_status(transport: paramiko.Transport) -> str:
    """Return why a command left no exit status."""
    if transport.is_active():
        return "the script was killed, or never started, and left no exit status"
    return "the connection broke while the script ran"
