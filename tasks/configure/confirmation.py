"""When a change may stay: the seam where a guard wraps apply, and what stands there today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labrun.errors import CommandError, TransportError
from labrun.ports import Transport
from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.configure.shell import apply_script, marker, parse_facts

__all__ = ["Confirmation", "Login", "NewLogin"]

Login = Callable[[], Transport]
"""A new login with a key and nothing else; raises a TransportError when there is no way in."""


class Confirmation(Protocol):
    """Decide over a change from outside: armed with it, then confirmed or undone."""

    def first(self, plan: HostPlan) -> str:
        """Return shell text that runs before the changes, in the same script."""
        ...

    def last(self, plan: HostPlan) -> str:
        """Return shell text that runs after the changes, in the same script."""
        ...

    def enter(self) -> Transport:
        """Return a transport over a new login; raises a TransportError where there is none."""
        ...

    def keep(self, transport: Transport, plan: HostPlan) -> None:
        """Make the change permanent: the new login works and nothing is left to change."""
        ...

    def undo(self, plan: HostPlan) -> bool:
        """Take the change back; True when that is certain."""
        ...


class NewLogin:
    """Confirm by a new key-only login; where there is none, undo over the session still open.

    What cannot be undone from here (a NIC that went down with the session) stays as it is: undoing
    that takes a guard in the guest.
    """

    def __init__(self, session: Transport, login: Login, *, timeout: float = 60.0):
        self._session = session
        self._login = login
        self._timeout = timeout

    def first(self, plan: HostPlan) -> str:
        """Return nothing: there is no guard to arm."""
        return ""

    def last(self, plan: HostPlan) -> str:
        """Return nothing: there is no guard to arm."""
        return ""

    def enter(self) -> Transport:
        """Return the transport of a new login."""
        return self._login()

    def keep(self, transport: Transport, plan: HostPlan) -> None:
        """Do nothing: the change is in place already."""

    def undo(self, plan: HostPlan) -> bool:
        """Run the undo scripts, the last section's first, over the session that made the change."""
        scripts = [(part.section, part.undo) for part in reversed(plan.sections) if part.apply and part.undo]
        if not scripts:
            return False
        mark = marker()
        try:
            done = self._session.run(apply_script(scripts, mark), timeout=self._timeout, sudo=True)
            said = parse_facts(done.stdout, mark).commands
        except (TransportError, CommandError):
            return False
        return all(name in said and said[name].status == 0 for name, _ in scripts)
