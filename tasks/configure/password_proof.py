"""Whether somebody without a key is offered a password: asked of sshd from outside, once it has changed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from labrun.errors import UnreachableError
from labrun.outcome import Outcome, Status

__all__ = ["offered_methods", "proved"]

_METHODS = {"passwordauthentication": "password", "kbdinteractiveauthentication": "keyboard-interactive"}
_PATIENCE = 15.0


def offered_methods(address: str, port: int, user: str, *, timeout: float = _PATIENCE) -> frozenset[str]:
    """Return the methods by which ``user`` may try to log in, from one attempt with none of them.

    The host key is not looked at: nothing is sent that is worth hiding, and whoever comes here has
    just come in with a key. Raises UnreachableError where sshd does not say.
    """
    import paramiko

    sock = None
    try:
        sock = socket.create_connection((address, port), timeout)
        transport = paramiko.Transport(sock)
        transport.banner_timeout = transport.auth_timeout = timeout
        try:
            transport.start_client(timeout=timeout)
            # Where this succeeds, nothing at all is asked for.
            return frozenset(transport.auth_none(user)) or frozenset({"none"})
        except paramiko.BadAuthenticationType as refusal:
            return frozenset(refusal.allowed_types)
        finally:
            transport.close()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise UnreachableError(str(error) or type(error).__name__, step="password") from error
    finally:
        if sock is not None:
            with suppress(OSError):
                sock.close()


def proved(rows: Sequence[Outcome], ask: Callable[[], Collection[str]]) -> list[Outcome]:
    """Return the rows with sshd's own word on passwords, where its settings changed and forbid them.

    ``ask`` is called at most once, because attempts without success count against the address that
    they come from (PerSourcePenalties).
    """
    forbidding = {row.name for row in rows if row.section == "sshd" and _forbids(row)}
    if not forbidding or not any(row.section == "sshd" and row.status is Status.CHANGED for row in rows):
        return list(rows)
    try:
        offered = ask()
    except UnreachableError as error:
        why = f"that no password is asked for could not be tried: {error.reason}"
        return [replace(row, why=row.why or why) if row.name in forbidding else row for row in rows]
    return [_judged(row, offered) if row.name in forbidding else row for row in rows]


def _forbids(row: Outcome) -> bool:
    return row.name in _METHODS and row.expected == "no" and row.status in (Status.OK, Status.CHANGED)


def _judged(row: Outcome, offered: Collection[str]) -> Outcome:
    wrong = [method for method in (_METHODS[row.name], "none") if method in offered]
    if row.section != "sshd" or not wrong:
        return row
    why = f"sshd says {row.actual}, and offers {wrong[0]} to a login without a key"
    return replace(row, status=Status.FAILED, why=why)
