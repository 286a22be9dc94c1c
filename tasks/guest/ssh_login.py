"""One SSH login: the host key checked, a key offered, and what went wrong in labrun's words."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from getpass import getuser
from pathlib import Path
from typing import Any

import paramiko

from labrun.errors import (
    AuthenticationError,
    HostKeyChangedError,
    HostKeyError,
    TransportError,
    UnreachableError,
)
from labrun.inventory.hosts.connections import TIMEOUTS
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.known_hosts import Stamp, file_stamp, known_keys
from labrun.tasks.guest.tcp import VERSION, SshSocket, await_banner, dial, no_ssh, unreachable
from labrun.tasks.guest.tunnel import JumpTransport, Tunnel, notice_silence

__all__ = ["SshLogin", "load_key"]

# paramiko also logs what it raises; without a handler Python would print that on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# A post-quantum exchange protects secrets for decades; on a local bridge, CPU time matters more.
_FIRST_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org")
# AEAD ciphers need no separate MAC: paramiko compares MACs byte by byte, in Python.
_FIRST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
# What the client of OpenSSH offers only if it is told to: such a host could not be reached with `ssh`.
_NOT_OF_SSH = re.compile(r".*-cbc|hmac-md5.*|hmac-sha1-96")
_LOOK = 1.0
# How long sshd may take to open a channel.
_CHANNEL_SECONDS = 20.0
_LARGEST_PACKET = 300 * 1024
"""OpenSSH's limit is 256 KiB, and labrun requests much less."""
_USER_FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class SshLogin:
    """One login to ``host``, strict about host keys.

    ``key_file`` is the only key offered; without one those of an agent (``allow_agent``) and the user's
    default keys (``look_for_keys``). Host keys are in ``alt_key_file`` with ``alt_host_keys``, and in the
    user's and the machine's files with ``system_host_keys``, under ``host_key_alias`` (default: the address,
    ``[address]:port`` if the port is not 22). ``ask_methods``: before offering the key, ask which methods
    would be accepted without it (the result is in ``offered``). ``dialled`` is a socket from
    :func:`labrun.tasks.guest.tcp.dial`, or a tunnel of the jump host ``through``. Timeouts are in seconds.
    The constructor logs in; it raises a TransportError.
    """

    def __init__(
        self,
        host: str,
        port: int = 22,
        username: str = "",
        *,
        key_file: str | None = None,
        allow_agent: bool = False,
        look_for_keys: bool = False,
        alt_host_keys: bool = False,
        alt_key_file: str = "",
        system_host_keys: bool = False,
        host_key_alias: str | None = None,
        ask_methods: bool = False,
        conn_timeout: float = TIMEOUTS["conn_timeout"],
        banner_timeout: float = TIMEOUTS["banner_timeout"],
        auth_timeout: float = TIMEOUTS["auth_timeout"],
        keepalive: int = TIMEOUTS["keepalive"],
        dialled: SshSocket | None = None,
        through: str | None = None,
    ):
        self.host = host
        self.port = port
        self.username = username
        self.client: paramiko.SSHClient | None = paramiko.SSHClient()
        self._sock: Any = dialled
        self.through = through
        self._key_file = key_file
        self._allow_agent = allow_agent
        self._look_for_keys = look_for_keys
        self._alias = host_key_alias
        self._kind = _Asking if ask_methods else JumpTransport
        files: tuple[str, ...] = (alt_key_file,) if alt_host_keys and alt_key_file else ()
        self._known_hosts = [
            Path(file).expanduser() for file in (*files, *(_USER_FILES if system_host_keys else ()))
        ]
        self._auth_timeout = auth_timeout
        try:
            self._log_in(conn_timeout, banner_timeout)
            if keepalive and self.transport is not None:
                self.transport.set_keepalive(keepalive)
        except BaseException:
            self.close()
            raise

    def _log_in(self, conn_timeout: float, patience: float) -> None:
        share = pace()
        if self._sock is None:
            self._sock = dial(self.host, self.port, share.remaining(conn_timeout))
        patience -= await_banner(self._sock, self._where, share.remaining(patience))
        name = self._known_name()
        assert self.client is not None
        self._trust(self.client, name)
        # The turn is taken only now: a host that never answers must not hold up those that would.
        with share.turn():
            self._shake_hands(self.client, name, share.remaining(patience))
        if share.is_over:
            raise UnreachableError("the host was given up before its login ended", step="connect")

    def _shake_hands(self, client: paramiko.SSHClient, name: str, patience: float) -> None:
        try:
            client.connect(
                # Name and port only select the line of known_hosts here: the socket is connected.
                hostname=name,
                sock=self._sock,
                username=self.username or None,
                pkey=load_key(self._key_file) if self._key_file else None,
                allow_agent=self._allow_agent,
                look_for_keys=self._look_for_keys,
                timeout=patience,
                banner_timeout=patience,
                auth_timeout=pace().remaining(self._auth_timeout),
                channel_timeout=_CHANNEL_SECONDS,
                transport_factory=partial(_transport, self._kind),
            )
        except TransportError:
            raise
        except Exception as error:
            # Deliberately broad: a server's messages can trigger any exception in paramiko's code.
            raise self._failure(error) from error

    @property
    def _where(self) -> str:
        place = f"{self.host} port {self.port}"
        return f"{place} through {self.through}" if self.through else place

    def _failure(self, error: Exception) -> TransportError:
        where = self._where
        known = isinstance(error, OSError | EOFError | paramiko.SSHException)
        refused = isinstance(error, paramiko.AuthenticationException | paramiko.BadHostKeyException)
        reason = no_ssh(self._sock, where) if self._sock is not None and not refused else None
        if reason is None and not known:
            reason = f"{where} does not speak SSH (what follows its greeting cannot be read)"
        if reason is not None:
            return UnreachableError(reason, step="connect")
        return _translated(error, where, self.username)

    def _known_name(self) -> str:
        if self._alias:
            return self._alias
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def _known_by(self) -> str:
        """Return how the host's key gets into known_hosts."""
        if self._alias:
            return "`labrun up` writes the keys of the hosts it creates"
        port = "" if self.port == 22 else f"-p {self.port} "
        scan = f"`ssh-keyscan {port}{self.host}`"
        return f"once you have checked it on the machine itself, {scan} gives the line"

    def _trust(self, client: paramiko.SSHClient, name: str) -> None:
        host_keys = client.get_host_keys()
        for path in self._known_hosts:
            for key in known_keys(path, name):
                host_keys.add(name, key.get_name(), key)
        client.set_missing_host_key_policy(_Refuse(self._known_hosts, self._known_by()))

    def close(self) -> None:
        """Close the connection and wake its reader thread, instead of waiting for its next poll."""
        if self._sock is not None:
            with suppress(OSError, EOFError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
            self._sock = None
        if self.client is not None:
            self.client.close()
            self.client = None

    def notice_loss(self, seconds: int) -> None:
        """Treat a peer whose kernel has been silent for ``seconds`` as gone; a busy sshd does not count."""
        if isinstance(self._sock, Tunnel):
            if self.transport is not None:
                notice_silence(self._sock, self.transport, seconds)
        elif self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)

    def is_alive(self) -> bool:
        """Tell whether the connection is up, without sending anything."""
        return self.transport is not None and self.transport.is_active()

    @property
    def transport(self) -> paramiko.Transport | None:
        """Return paramiko's transport, None once closed."""
        return self.client.get_transport() if self.client is not None else None

    @property
    def offered(self) -> frozenset[str] | None:
        """Return the methods that sshd offered to a login without a key, ``none`` if it required nothing.

        None if it was not asked.
        """
        transport = self.transport
        return transport.offered if isinstance(transport, _Asking) else None


class _Asking(paramiko.Transport):
    """Ask once which methods are offered, before the first key; sshd does not count that as a failure."""

    offered: frozenset[str] | None = None

    def auth_publickey(self, *args: Any, **keywords: Any) -> list[str]:
        """Offer the key, unless the server requires no authentication."""
        username = str(keywords["username"] if "username" in keywords else args[0])
        if self.offered is None:
            try:
                self.auth_none(username)
                self.offered = frozenset({"none"})
            except paramiko.BadAuthenticationType as refusal:
                self.offered = frozenset(refusal.allowed_types)
        return [] if "none" in self.offered else list(super().auth_publickey(*args, **keywords))


class _Refuse(paramiko.MissingHostKeyPolicy):
    def __init__(self, files: list[Path], known_by: str):
        self._files = files
        self._known_by = known_by

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        files = " or ".join(str(file) for file in self._files) or "any known_hosts file"
        raise HostKeyError(
            f"no host key is known for {hostname} in {files}",
            step="host key",
            hint=f"it shows {key.fingerprint}; {self._known_by}",
        )


def _transport(
    kind: type[paramiko.Transport], sock: Any, /, *args: Any, **keywords: Any
) -> paramiko.Transport:
    transport = kind(sock, *args, **keywords)
    transport.local_version = VERSION.decode().strip()
    _bound_packets(transport.packetizer)
    # paramiko's thread checks ten times a second whether it should end; closing wakes it at once.
    sock.settimeout(_LOOK)
    options = transport.get_security_options()
    options.kex = _preferring(_FIRST_KEX, options.kex)
    options.ciphers = _preferring(_FIRST_CIPHERS, _of_ssh(options.ciphers))
    options.digests = _of_ssh(options.digests)
    return transport


def _of_ssh(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not _NOT_OF_SSH.fullmatch(name))


def _bound_packets(packetizer: Any) -> None:
    """Refuse packets larger than the protocol's limit: paramiko would wait for all of its 4 GiB."""
    read_all = packetizer.read_all

    def bounded(size: int, check_rekey: bool = False) -> bytes:
        if size > _LARGEST_PACKET:
            raise paramiko.SSHException(f"a packet of {size} bytes")
        return bytes(read_all(size, check_rekey))

    packetizer.read_all = bounded


def _preferring(first: Sequence[str], offered: Sequence[str]) -> tuple[str, ...]:
    known = tuple(name for name in first if name in offered)
    return known + tuple(name for name in offered if name not in known)


def _translated(error: Exception, where: str, user: str) -> TransportError:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, paramiko.BadHostKeyException):
        return HostKeyChangedError(
            f"its host key is not the one on record: {error.key.fingerprint}"
            f" instead of {error.expected_key.fingerprint}",
            step="host key",
            hint="the machine was rebuilt by other means, or something else answers at its address",
        )
    lost = text.startswith(("Authentication timeout", "Authentication failed: transport shut down"))
    if isinstance(error, paramiko.AuthenticationException) and not lost:
        return AuthenticationError(
            f"{where} accepts none of the keys for {user or 'the user'}: {text}",
            step="login",
            hint="the lab's key is not in the guest's authorized_keys, or sshd refuses keys",
        )
    if isinstance(error, paramiko.SSHException) and "authentication methods available" in text:
        hint = "name one: ssh: {identity: FILE}"
        return AuthenticationError("there is no key to log in with", step="login", hint=hint)
    return UnreachableError(unreachable(error, where), step="connect")


def _own_account() -> str:
    try:
        return getuser()
    except (KeyError, OSError) as error:
        raise AuthenticationError(
            f"uid {os.getuid()} has no account here whose name could be used to log in",
            step="login",
            hint="`ssh: {user}` names one",
        ) from error


def load_key(path: str | Path) -> paramiko.PKey:
    """Return the private key in that file, read once per version of the file.

    Raises AuthenticationError if it is missing, unreadable or protected by a passphrase.
    """
    file = Path(path).expanduser()
    return _load_key(file, file_stamp(file))


@lru_cache(maxsize=16)
def _load_key(file: Path, stamp: Stamp) -> paramiko.PKey:
    hint = "`labrun up` puts a new key into the hosts it created"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise AuthenticationError(f"the key {file} is not a file", step="login", hint=hint)
        return paramiko.PKey.from_path(file)
    except paramiko.PasswordRequiredException as error:
        hint = "load it into ssh-agent and leave `identity` out"
        reason = f"the key {file} is protected by a passphrase"
        raise AuthenticationError(reason, step="login", hint=hint) from error
    except OSError as error:
        reason = f"cannot read the key {file}: {error.strerror}"
        raise AuthenticationError(reason, step="login", hint=hint) from error
    except (paramiko.SSHException, ValueError, TypeError) as error:
        raise AuthenticationError(
            f"{file} is not a valid private key: {error}", step="login", hint=hint
        ) from error
