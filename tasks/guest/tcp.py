"""TCP to a host's sshd, opened before any SSH code is loaded: sshd starts while that is imported."""

from __future__ import annotations

import errno
import math
import os
import re
import select
import socket
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from labrun.errors import UnreachableError
from labrun.tasks.guest.deadline import pace

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "SILENT",
    "VERSION",
    "PromptSocket",
    "SshSocket",
    "await_banner",
    "begin_to_dial",
    "dial",
    "no_ssh",
    "stop_dialling",
    "unreachable",
]

VERSION = b"SSH-2.0-labrun\r\n"
"""labrun's SSH version string. The handshake signs it, so paramiko has to send the same one."""

SILENT = "accepted the connection but did not finish the SSH handshake in time"
# Data unacknowledged for this long (milliseconds) means the peer is gone; plain TCP waits 15 minutes.
_TCP_PATIENCE = 30_000
# An emulated guest under load takes seconds to start its sshd; where the host has minutes, it gets its share.
_BANNER_SECONDS, _BANNER_SHARE = 10.0, 1 / 12
# A server that has sent lines before its version continues soon, or has sent everything.
_NEXT_SECONDS = 2.0
_MOST, _LARGEST_READ = 16 * 1024, 256 * 1024
# An SSH server may send lines before its version, but never this many bytes.
_LONGEST_GREETING = 8 * 1024
_VERSION = re.compile(rb"^SSH-[^\n]*\n", re.MULTILINE)
_LONGEST_SHOWN, _LONGEST_REASON = 60, 300
# sshd gives up on a client that says nothing; long before that, a new connection is the better one (seconds).
_FRESH = 5.0


class SshSocket:
    """The socket under SSH: sends labrun's version at once, and recognises what the other side is.

    The transport under it is a subclass's: :meth:`_receive`, :meth:`_transmit` and :meth:`is_readable`.
    """

    _held = b""
    _greeting = b""
    _introduced = greeted = hung_up = False

    def introduce(self) -> None:
        """Send the version first: a server that waits for its client then shows what it is.

        paramiko sends it again, and :meth:`send` drops that. A failure here surfaces at the first read.
        """
        self._introduced = True
        with suppress(OSError):
            self._transmit(VERSION)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Send as a socket does, but the version only once."""
        del flags
        if self._introduced and bytes(data) == VERSION:
            self._introduced = False
            return len(VERSION)
        return self._transmit(data)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read as a socket does, buffered data first.

        Raises ConnectionError for a server that keeps sending without an SSH version.
        """
        del flags
        if not self._held:
            self._held = self._take(size)
        data, self._held = self._held[:size], self._held[size:]
        return data

    def hear(self) -> None:
        """Buffer what has arrived for :meth:`recv`; raises ConnectionError as that does."""
        self._held += self._take(_MOST)

    def is_readable(self, seconds: float) -> bool:
        """Wait until something has arrived, or the other side has hung up; return False if neither does."""
        raise NotImplementedError

    def _receive(self, size: int) -> bytes:
        raise NotImplementedError

    def _transmit(self, data: ReadableBuffer) -> int:
        raise NotImplementedError

    def _take(self, size: int) -> bytes:
        try:
            taken = self._receive(min(max(size, _MOST), _LARGEST_READ))
        except ConnectionError:
            self.hung_up = True
            raise
        self.hung_up = not taken
        if not self.greeted:
            self._listen(taken)
        return taken

    def _listen(self, taken: bytes) -> None:
        self._greeting += taken
        self.greeted = _VERSION.search(self._greeting) is not None
        if not self.greeted and len(self._greeting) > _LONGEST_GREETING:
            raise ConnectionError("no version of SSH")

    @property
    def sent(self) -> str:
        """Return the first line received, printable characters only; empty if nothing arrived."""
        line = self._greeting.lstrip().partition(b"\n")[0][: 4 * _LONGEST_SHOWN].decode(errors="replace")
        shown = " ".join("".join(c if c.isprintable() else "�" for c in line.strip()).split())
        return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 1]}…"


class PromptSocket(SshSocket, socket.socket):
    """Reads all that has arrived, and acknowledges it at once; ``recv`` returns it piece by piece.

    sshd sends small packets for a session without a terminal, each once the previous one is acknowledged
    (Nagle's algorithm), and Linux may delay an ACK by 40 ms. The kernel resets the option, so it is set
    again. paramiko reads every packet in two or three pieces.
    """

    def is_readable(self, seconds: float) -> bool:
        """Wait until something has arrived, or the other side has hung up; return False if neither does."""
        poller = select.poll()
        poller.register(self, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _receive(self, size: int) -> bytes:
        taken = socket.socket.recv(self, size)
        with suppress(OSError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return taken

    def _transmit(self, data: ReadableBuffer) -> int:
        return socket.socket.send(self, data)


_begun: dict[tuple[str, int], tuple[PromptSocket, float]] = {}


def begin_to_dial(host: str, port: int) -> None:
    """Begin to connect, without waiting for anything: the next :func:`dial` to that address goes on with it.

    Nothing happens for a name, whose address would have to be looked up first.
    """
    family = _family(host)
    if family is None:
        return
    try:
        sock = PromptSocket(family, socket.SOCK_STREAM)
    except OSError:
        return  # the dial says why
    sock.setblocking(False)
    if sock.connect_ex((host, port)) not in (0, errno.EINPROGRESS):
        sock.close()
        return
    stop_dialling(host, port)
    _begun[host, port] = sock, time.monotonic()


def stop_dialling(host: str, port: int) -> None:
    """Drop the connection that was begun to that address, if any."""
    sock, _ = _begun.pop((host, port), (None, 0.0))
    if sock is not None:
        sock.close()


def _family(host: str) -> socket.AddressFamily | None:
    """Return the family of an address that needs no look-up, not even one of its zone."""
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return None if "%" in host else socket.AF_INET if version == 4 else socket.AF_INET6


def dial(host: str, port: int, timeout: float) -> PromptSocket:
    """Return a connected socket that acknowledges at once; UnreachableError after ``timeout`` seconds."""
    try:
        sock = _begun_before(host, port, timeout) or _connected(host, port, timeout)
    except OSError as error:
        raise UnreachableError(unreachable(error, f"{host} port {port}"), step="connect") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_PATIENCE)
    sock.introduce()
    return sock


def _connected(host: str, port: int, timeout: float) -> PromptSocket:
    plain = socket.create_connection((host, port), timeout=timeout or 0.001)
    return PromptSocket(plain.family, plain.type, plain.proto, plain.detach())


def _begun_before(host: str, port: int, timeout: float) -> PromptSocket | None:
    """Return the connection that was begun, once it is made; None if there is none, or it is too old."""
    sock, since = _begun.pop((host, port), (None, 0.0))
    if sock is None:
        return None
    if time.monotonic() - since > _FRESH:
        sock.close()
        return None
    made = select.poll()
    made.register(sock, select.POLLOUT)
    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if made.poll(timeout * 1000) else None
    if failed == 0:
        return sock
    sock.close()
    raise TimeoutError if failed is None else OSError(failed, os.strerror(failed))


def await_banner(sock: SshSocket, where: str, patience: float) -> float:
    """Wait for the server's SSH version; return the seconds that took.

    Raises UnreachableError for a server that sends something else, hangs up, or stays silent: after
    ``patience`` seconds, or earlier if no sshd would take so long.
    """
    began = now = time.monotonic()
    left = pace().remaining()
    usual = max(_BANNER_SECONDS, left * _BANNER_SHARE) if math.isfinite(left) else _BANNER_SECONDS
    until = began + min(patience, usual)
    while not sock.greeted:
        soonest = min(until, now + _NEXT_SECONDS) if sock.sent else until
        if not sock.is_readable(max(0.0, soonest - now)):
            break
        try:
            sock.hear()
        except ConnectionError:
            break
        if sock.hung_up:
            break
        now = time.monotonic()
    waited = time.monotonic() - began
    if not sock.greeted:
        mute = (
            f"{where} accepted the connection but sent no SSH banner within {max(1, round(waited))} s:"
            " its sshd hangs, or something else listens there"
        )
        raise UnreachableError(no_ssh(sock, where) or mute, step="connect")
    return waited


def no_ssh(sock: SshSocket, where: str) -> str | None:
    """Return a description of a server that does not speak SSH; None if it does or has sent nothing."""
    if not sock.greeted and sock.sent:
        return f"{where} does not speak SSH (it sent: {sock.sent})"
    if sock.hung_up:
        return f"{where} closed the connection during the handshake"
    return None


def unreachable(error: Exception, where: str) -> str:
    """Return a description of why the connection to ``where`` failed."""
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
    return f"{where}: {text[:_LONGEST_REASON]}"
