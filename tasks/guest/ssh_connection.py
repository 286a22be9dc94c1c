"""The SSH connection under every task: Netmiko's Linux driver without its interactive shell.

Opening Netmiko's shell costs three times as much as the login itself, and no decision or change uses it.
So it is opened on the first call of ``send_command``.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from getpass import getuser
from pathlib import Path
from typing import Any

import paramiko
from netmiko.channel import SSHChannel
from netmiko.linux.linux_ssh import LinuxSSH

from labrun.errors import (
    AuthenticationError,
    HostKeyChangedError,
    HostKeyError,
    TransportError,
    UnreachableError,
)
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.known_hosts import Stamp, file_stamp, known_keys
from labrun.tasks.guest.tcp import VERSION, PromptSocket, await_banner, dial, no_ssh, unreachable

__all__ = ["LabSSH", "load_key"]

# paramiko and Netmiko also log what they raise; without a handler Python would print it on stderr.
for _name in ("paramiko", "netmiko"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

# A post-quantum exchange protects secrets for decades; on a local bridge, CPU time matters more.
_FIRST_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org")
# AEAD ciphers need no separate MAC: paramiko compares MACs byte by byte, in Python.
_FIRST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_LOOK = 1.0
_LARGEST_PACKET = 300 * 1024
"""OpenSSH's limit is 256 KiB, and labrun requests much less."""
_USER_FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


class LabSSH(LinuxSSH):
    """One login, strict about host keys, with keywords beyond Netmiko's:

    ``host_key_alias``: the name to look up in known_hosts (default: the address, ``[address]:port``
    if the port is not 22). ``look_for_keys``: try the user's default keys. ``ask_methods``: before
    offering the key, ask which methods would be accepted without it (the result is in ``offered``).
    ``dialled``: a socket from :func:`labrun.tasks.guest.tcp.dial`, for the first login. Raises
    labrun's TransportErrors, not Netmiko's.
    """

    def __init__(
        self,
        *,
        host_key_alias: str | None = None,
        look_for_keys: bool = False,
        ask_methods: bool = False,
        dialled: PromptSocket | None = None,
        **options: Any,
    ):
        self._dialled = dialled
        self.host_key_alias = host_key_alias
        self.look_for_keys = look_for_keys
        self.ask_methods = ask_methods
        self.remote_conn_pre: paramiko.SSHClient | None = None
        self._shell_ready = False
        super().__init__(**options)

    def establish_connection(self, width: int = 511, height: int = 1000) -> None:
        """Connect, check the host key and log in, without opening a shell."""
        self._size = (width, height)
        try:
            self._log_in()
        except BaseException:
            self.paramiko_cleanup()
            raise

    def _log_in(self) -> None:
        share = pace()
        patience = self.banner_timeout
        if self.sock is None:
            dialled, self._dialled = self._dialled, None
            self.sock = dialled or dial(self.host, self.port, share.remaining(self.conn_timeout))
            where = f"{self.host} port {self.port}"
            patience -= await_banner(self.sock, where, share.remaining(patience))
        client = self.remote_conn_pre = paramiko.SSHClient()
        name = self._known_name()
        self._trust(client, name)
        # The turn is taken only now: a host that never answers must not hold up those that would.
        with share.turn():
            self._shake_hands(client, name, share.remaining(patience))
        transport = client.get_transport()
        if transport is not None and self.keepalive:
            transport.set_keepalive(int(self.keepalive))

    def _shake_hands(self, client: paramiko.SSHClient, name: str, patience: float) -> None:
        try:
            client.connect(
                # Name and port only select the line of known_hosts here: the socket is connected.
                hostname=name,
                sock=self.sock,
                username=self.username or _own_account(),
                pkey=load_key(self.key_file) if self.key_file else self.pkey,
                allow_agent=self.allow_agent,
                look_for_keys=self.look_for_keys,
                timeout=patience,
                banner_timeout=patience,
                auth_timeout=pace().remaining(self.auth_timeout or self.banner_timeout),
                channel_timeout=self.blocking_timeout,
                transport_factory=partial(_transport, _Asking if self.ask_methods else paramiko.Transport),
            )
        except TransportError:
            raise
        except Exception as error:
            # Deliberately broad: a server's messages can trigger any exception in paramiko's code.
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> TransportError:
        where = f"{self.host} port {self.port}"
        known = isinstance(error, OSError | EOFError | paramiko.SSHException)
        refused = isinstance(error, paramiko.AuthenticationException | paramiko.BadHostKeyException)
        reason = no_ssh(self.sock, where) if isinstance(self.sock, PromptSocket) and not refused else None
        if reason is None and not known:
            reason = f"{where} does not speak SSH (what follows its greeting cannot be read)"
        if reason is not None:
            return UnreachableError(reason, step="connect")
        return _translated(error, where, self.username)

    def _known_name(self) -> str:
        if self.host_key_alias:
            return self.host_key_alias
        return str(self.host) if self.port == 22 else f"[{self.host}]:{self.port}"

    def _known_by(self) -> str:
        """Return how the host's key gets into known_hosts."""
        if self.host_key_alias:
            return "`labrun up` writes the keys of the hosts it makes"
        port = "" if self.port == 22 else f"-p {self.port} "
        return f"once that is checked on the machine itself, `ssh-keyscan {port}{self.host}` gives the line"

    def _trust(self, client: paramiko.SSHClient, name: str) -> None:
        files = [self.alt_key_file] if self.alt_host_keys and self.alt_key_file else []
        if self.system_host_keys:
            files += _USER_FILES
        paths = [Path(file).expanduser() for file in files]
        ours = client.get_host_keys()
        for path in paths:
            for key in known_keys(path, name):
                ours.add(name, key.get_name(), key)
        client.set_missing_host_key_policy(_Refuse(paths, self._known_by()))

    def _try_session_preparation(self, force_data: bool = True) -> None:
        """Leave the shell for later."""

    def write_channel(self, out_data: str) -> None:
        """Write to the interactive shell, opening it first."""
        self._open_shell()
        super().write_channel(out_data)

    def read_channel(self) -> str:
        """Read from the interactive shell, opening it first."""
        self._open_shell()
        return str(super().read_channel())

    def _open_shell(self) -> None:
        if self._shell_ready or self.remote_conn_pre is None:
            return
        self._shell_ready = True
        width, height = self._size
        self.remote_conn = self.remote_conn_pre.invoke_shell(term="vt100", width=width, height=height)
        self.remote_conn.settimeout(self.blocking_timeout)
        self.channel = SSHChannel(conn=self.remote_conn, encoding=self.encoding)
        self.special_login_handler()
        super()._try_session_preparation()

    def cleanup(self, command: str = "exit") -> None:
        """Exit the shell if there is one."""
        if self._shell_ready:
            super().cleanup(command)

    def paramiko_cleanup(self) -> None:
        """Close the connection and wake the reader thread, instead of waiting for its next poll."""
        if self.sock is not None:
            with suppress(OSError, EOFError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()
            self.sock = None
        super().paramiko_cleanup()

    def notice_loss(self, seconds: int) -> None:
        """Treat a peer whose kernel has been silent for ``seconds`` as gone; a busy sshd does not count."""
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)

    def is_alive(self) -> bool:
        """Tell whether the connection is up, without sending anything."""
        return self.transport is not None and self.transport.is_active()

    @property
    def transport(self) -> paramiko.Transport | None:
        """Return paramiko's transport, None once closed."""
        return self.remote_conn_pre.get_transport() if self.remote_conn_pre is not None else None

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
    options.ciphers = _preferring(_FIRST_CIPHERS, options.ciphers)
    return transport


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
            f"it shows another host key than the one on record: {error.key.fingerprint}"
            f" in place of {error.expected_key.fingerprint}",
            step="host key",
            hint="the machine was rebuilt by other means, or something else answers at its address",
        )
    lost = text.startswith(("Authentication timeout", "Authentication failed: transport shut down"))
    if isinstance(error, paramiko.AuthenticationException) and not lost:
        return AuthenticationError(
            f"{where} lets {user or 'the user'} in with none of the keys: {text}",
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
            f"uid {os.getuid()} has no account here whose name could be the login's",
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
    hint = "`labrun up` puts a new key into the hosts it made"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise AuthenticationError(f"the key {file} is not a file", step="login", hint=hint)
        return paramiko.PKey.from_path(file)
    except paramiko.PasswordRequiredException as error:
        hint = "load it into ssh-agent and leave `identity` out"
        reason = f"the key {file} is locked by a passphrase"
        raise AuthenticationError(reason, step="login", hint=hint) from error
    except OSError as error:
        reason = f"cannot read the key {file}: {error.strerror}"
        raise AuthenticationError(reason, step="login", hint=hint) from error
    except (paramiko.SSHException, ValueError, TypeError) as error:
        raise AuthenticationError(f"{file} is no private key: {error}", step="login", hint=hint) from error
