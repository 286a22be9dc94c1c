"""One login to each jump host, which all hosts behind it share; each has a channel of its own over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labrun.errors import JumpHostError, LabrunError, UnreachableError
from labrun.tasks.guest.deadline import pace

if TYPE_CHECKING:
    from labrun.tasks.guest.ssh_login import SshLogin
    from labrun.tasks.guest.tunnel import Tunnel

__all__ = ["JUMP_HOST", "SHARED", "JumpHosts"]

JUMP_HOST = "its jump host"
"""How the reason of an error begins, or goes on, that is about a jump host and not the host behind it."""

Options = Mapping[str, Any]
"""How to log in to a jump host: ``name``, ``host``, ``port``, ``username``, and extras of its connection."""
# Every failed login costs the client a penalty, and three in a row lock it out (OpenSSH 9.8).
_AFTER_REFUSAL = 5.0


class _JumpHost:
    """The login to one jump host; callers that need it while it is being made wait for the same attempt."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._making = threading.Lock()
        self._login: SshLogin | None = None
        self._failed: LabrunError | None = None
        self._failed_at = 0.0

    def login(self, options: Options, timeout: float) -> SshLogin:
        asked = time.monotonic()
        while not self._making.acquire(timeout=pace().remaining(1.0)):
            if pace().stopping.is_set() or not pace().remaining():
                raise UnreachableError(f"the time was up before its jump host {self.name} was there")
        try:
            if self._login is not None and self._login.is_alive():
                return self._login
            if self._failed is not None and self._failed_at >= asked:
                raise self._about(self._failed)
            self.close()
            self._login = self._made(options, timeout)
            return self._login
        finally:
            self._making.release()

    def _made(self, options: Options, timeout: float) -> SshLogin:
        from labrun.tasks.guest.login import log_in

        extras = {**options, "conn_timeout": timeout, "patience": 0.0}
        try:
            login = log_in(options["host"], options["username"], options["port"], extras)
        except LabrunError as error:
            self._failed = error
            is_refusal = not isinstance(error, UnreachableError)
            self._failed_at = time.monotonic() + (_AFTER_REFUSAL if is_refusal else 0.0)
            raise self._about(error) from error
        self._failed = None
        return login

    def _about(self, error: LabrunError) -> LabrunError:
        """Return the error of this login as that of a host behind it; each of them gets its own."""
        named = error.reason.startswith(JUMP_HOST)
        reason = error.reason if named else f"{JUMP_HOST} {self.name}: {error.reason}"
        if isinstance(error, UnreachableError):
            return UnreachableError(reason, step="connect")
        return JumpHostError(reason, step=error.step, hint=error.hint)

    def close(self) -> None:
        if self._login is not None:
            self._login.close()
            self._login = None


class JumpHosts:
    """The logins to jump hosts, one each; they stay until they are closed."""

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._known: dict[tuple[Any, ...], _JumpHost] = {}

    def dial(self, jump: Options, host: str, port: int, timeout: float) -> Tunnel:
        """Return a connection that a jump host makes, within ``timeout`` seconds after the login there.

        Raises UnreachableError, and JumpHostError for a jump host that refuses the login or the forwarding;
        the reason names the jump host.
        """
        from labrun.tasks.guest.tunnel import open_tunnel

        through = self._of(jump)
        transport = through.login(jump, timeout).transport
        if transport is None:
            raise UnreachableError(f"the connection to its jump host {through.name} is lost", step="connect")
        tunnel = open_tunnel(transport, through.name, host, port, timeout)
        tunnel.introduce()
        return tunnel

    def require_forwarding(self, jump: Options, host: str, port: int, timeout: float) -> None:
        """Have a jump host connect to an address: whether anybody answers there does not matter.

        Raises UnreachableError, and JumpHostError for a jump host that refuses the login or the forwarding.
        """
        from labrun.tasks.guest.tunnel import open_tunnel

        through = self._of(jump)
        login = through.login(jump, timeout)
        if login.transport is None:
            raise UnreachableError(f"the connection to {through.name} is lost", step="connect")
        try:
            open_tunnel(login.transport, through.name, host, port, timeout).close()
        except UnreachableError:
            if not login.is_alive():
                raise

    def _of(self, jump: Options) -> _JumpHost:
        # Not by address: that may change while the hosts behind it are being worked on.
        key = tuple(jump.get(option) for option in ("name", "username", "key_file", "alt_key_file"))
        with self._adding:
            return self._known.setdefault(key, _JumpHost(str(jump["name"])))

    def close(self) -> None:
        """Close the logins, and with them the connections through them."""
        with self._adding:
            known = list(self._known.values())
            self._known.clear()
        for jump_host in known:
            jump_host.close()


SHARED = JumpHosts()
"""The logins that all hosts behind a jump host share."""
