"""TCP from a jump host on, over one channel of the login there; SSH is spoken over it as over a socket."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import paramiko

from labrun.errors import JumpHostError, UnreachableError
from labrun.tasks.guest.tcp import SshSocket, unreachable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["JumpTransport", "Tunnel", "notice_silence", "open_tunnel"]

_MOST = 16 * 1024
# paramiko's codes for a channel that is not opened.
_PROHIBITED, _NOT_CONNECTED = 1, 2
# What sshd says of a connection that it could not make, as its kernel words it.
_ERRORS: Mapping[str, OSError] = {
    "Connection refused": ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    "Connection timed out": TimeoutError(),
}
# The origin of a connection that labrun itself makes: sshd only logs it.
_ORIGIN = ("127.0.0.1", 0)
# A busy sshd answers late, and a jump host's kernel does not tell that the next one is gone (seconds).
_ECHO_EVERY, _LEAST_SILENCE = 1.0, 10


class JumpTransport(paramiko.Transport):
    """paramiko's transport, whose ChannelException has the server's own words for a channel that failed.

    paramiko keeps one failure for the whole connection, and whoever asks first has it: of several channels
    that are refused at the same time, the others would only have run out of time.
    """

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self._asking = threading.local()
        self._refused: dict[int, paramiko.ChannelException] = {}

    def open_channel(self, *args: Any, **keywords: Any) -> paramiko.Channel:
        """Open a channel; raises ChannelException with the server's answer to this very request."""
        try:
            return super().open_channel(*args, **keywords)
        except paramiko.SSHException as error:
            refused = self._refused.pop(getattr(self._asking, "channel", -1), None)
            if refused is not None:
                raise refused from error
            raise

    def _next_channel(self) -> int:
        self._asking.channel = super()._next_channel()  # type: ignore[misc]
        return int(self._asking.channel)

    def _parse_channel_open_failure(self, m: paramiko.Message) -> None:
        channel, code, said = m.get_int(), m.get_int(), m.get_text()
        with self.lock:
            self._refused[channel] = paramiko.ChannelException(code, said)
            opened = self.channel_events.pop(channel, None)
            if opened is not None:
                self._channels.delete(channel)  # type: ignore[attr-defined]
                opened.set()


class Tunnel(SshSocket):
    """A connection that a jump host made; the parts of a socket that SSH needs."""

    def __init__(self, channel: paramiko.Channel):
        self._channel = channel
        self._early: bytes | None = None

    def is_readable(self, seconds: float) -> bool:
        """Wait until something has arrived, or the other side has hung up; return False if neither does."""
        if self._early is None:
            self._channel.settimeout(seconds)
            try:
                self._early = self._channel.recv(_MOST)
            except TimeoutError:
                return False
        return True

    def _receive(self, size: int) -> bytes:
        if self._early is not None:
            early, self._early = self._early, None
            return early
        return self._channel.recv(size)

    def _transmit(self, data: ReadableBuffer) -> int:
        return self._channel.send(bytes(data))

    @property
    def _closed(self) -> bool:
        # paramiko asks its socket for this.
        return self._channel.closed

    def settimeout(self, seconds: float | None) -> None:
        """Limit how long one read or write waits."""
        self._channel.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        """Wake the threads that read or write."""
        self._channel.shutdown(how)

    def close(self) -> None:
        """Close the channel; the jump host's login stays."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


def notice_silence(sock: Tunnel, login: paramiko.Transport, seconds: int) -> None:
    """Close a tunnel once the host at its end has answered nothing for ``seconds``, 10 at least."""
    longest = max(seconds, _LEAST_SILENCE)

    def watch() -> None:
        nobody = threading.Event()
        while login.is_active():
            late = threading.Timer(longest, sock.close)
            late.daemon = True
            late.start()
            try:
                # OpenSSH refuses the request, which is an answer; it ends as well when the tunnel is closed.
                login.global_request("keepalive@openssh.com", wait=True)
            except (OSError, EOFError, paramiko.SSHException):
                return
            finally:
                late.cancel()
            nobody.wait(_ECHO_EVERY)

    threading.Thread(target=watch, name="labrun-echo", daemon=True).start()


def open_tunnel(login: paramiko.Transport, through: str, host: str, port: int, timeout: float) -> Tunnel:
    """Have the jump host ``through`` connect to an address, over the login there.

    Raises UnreachableError, and JumpHostError if the jump host refuses to forward.
    """
    where = f"{host} port {port} through {through}"
    try:
        channel = login.open_channel("direct-tcpip", (host, port), _ORIGIN, timeout=max(timeout, 0.001))
    except paramiko.ChannelException as error:
        if error.code == _PROHIBITED:
            raise JumpHostError(
                f"its jump host {through} does not forward connections",
                step="connect",
                hint=f"AllowTcpForwarding of the sshd on {through} must be yes or local",
            ) from error
        met = _ERRORS.get(error.text) or OSError(errno.EHOSTUNREACH, error.text)
        raise UnreachableError(unreachable(met, where), step="connect") from met
    except (paramiko.SSHException, EOFError, OSError) as error:
        if login.is_active():
            raise UnreachableError(unreachable(TimeoutError(), where), step="connect") from error
        lost = f"the connection to its jump host {through} is lost"
        raise UnreachableError(lost, step="connect") from error
    return Tunnel(channel)
