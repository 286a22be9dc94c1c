"""TCP to a host's sshd, before anything of SSH is loaded: sshd gets ready while Netmiko is imported."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from labrun.errors import UnreachableError

__all__ = ["SILENT", "await_banner", "dial", "unreachable"]

SILENT = "accepted the connection but did not finish the SSH handshake in time"
# Unacknowledged data for this long (milliseconds) means that the peer is gone; TCP alone waits 15 minutes.
_TCP_PATIENCE = 30_000
_MOST = 16 * 1024


class _PromptSocket(socket.socket):
    """Takes all that has arrived, and acknowledges it at once; ``recv`` hands it out.

    sshd sends small packets for a session without a terminal, each when the one before is acknowledged
    (Nagle's algorithm), and Linux lets an acknowledgement wait for 40 ms. The kernel forgets the option.
    paramiko reads every packet in two or three pieces.
    """

    _held = b""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read as a socket does, from what was taken before where there is any."""
        if not self._held:
            self._held = super().recv(max(size, _MOST), flags)
            with suppress(OSError):
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data, self._held = self._held[:size], self._held[size:]
        return data


def dial(host: str, port: int, timeout: float) -> socket.socket:
    """Return a connected socket that is quick to acknowledge; UnreachableError after ``timeout`` seconds."""
    try:
        plain = socket.create_connection((host, port), timeout=timeout or 0.001)
        sock = _PromptSocket(plain.family, plain.type, plain.proto, plain.detach())
    except OSError as error:
        raise UnreachableError(unreachable(error, f"{host} port {port}"), step="connect") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_PATIENCE)
    return sock


def await_banner(sock: socket.socket, where: str, patience: float) -> float:
    """Wait until the server has said something, or hung up; returns the seconds that took."""
    began = time.monotonic()
    heard = select.poll()
    heard.register(sock, select.POLLIN)
    if not heard.poll(patience * 1000):
        raise UnreachableError(f"{where} {SILENT}", step="connect")
    return time.monotonic() - began


def unreachable(error: Exception, where: str) -> str:
    """Return in words why nobody could be reached at ``where``."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refused the connection"
    if isinstance(error, socket.gaierror):
        return f"{where}: the name has no address ({error.strerror})"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    if isinstance(error, ConnectionResetError | EOFError):
        return f"{where} closed the connection during the handshake"
    if isinstance(error, OSError) and error.strerror:
        return f"{where}: {error.strerror}"
    if "banner" in text or "No existing session" in text or text.startswith("Authentication timeout"):
        return f"{where} {SILENT}"
    return f"{where}: {text}"
