"""When a change may stay: the interface a guard implements, and the fallback without a guard."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from labrun.errors import CommandError, LabrunError, TransportError
from labrun.ports import Transport
from labrun.tasks.configure.plan import HostPlan, SectionPlan, Seen
from labrun.tasks.guest.scripts import assigned, function, guest_script, quote, words
from labrun.tasks.guest.shell import Captured, Facts, Probe, apply_script, marker, parse_facts

__all__ = [
    "APPLY_SECONDS",
    "KEPT",
    "Confirmation",
    "Login",
    "Look",
    "NewLogin",
    "RollbackResult",
    "kept_functions",
    "live_values",
    "remember",
]

_log = logging.getLogger(__name__)
_SECONDS = 60.0

APPLY_SECONDS = 180
"""How long the changes may take on one host."""

Login = Callable[[], Transport]
"""Make a new login, with a key only; raises a TransportError if that fails."""

Look = Callable[[Transport], Seen]
"""Read the host again over a transport; raises a TransportError or CommandError."""


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """The outcome of a change that could not stay.

    ``seen`` is the host's state over a new login after the rollback; None if it could not be read, or
    the host did not roll back. ``put_back`` are the sections whose undo ran without a check afterwards;
    ``otherwise`` is the reason given for the others in that case. ``stayed`` = the change turned out to
    be confirmed after all. ``differences`` is what the host itself found different from before, with
    ``goes_on`` while it still tries to restore that.
    """

    seen: Seen | None = None
    put_back: frozenset[str] = frozenset()
    otherwise: str = "the host has not been seen since"
    stayed: bool = False
    differences: tuple[str, ...] = ()
    goes_on: bool = False


def remember(transport: Transport, record: str) -> None:
    """Write the record of what is applied; a host that cannot keep one is still as declared."""
    if not record:
        return
    try:
        transport.run(apply_script([("record", record)], marker()), timeout=_SECONDS, sudo=True)
    except LabrunError as error:
        _log.debug("the record was not written: %s", error, extra={"host": error.host})


class Confirmation(Protocol):
    """Decide on a change from outside: armed with it, then confirmed or rolled back.

    ``patience`` is how many seconds to wait at most for the change to take effect.
    """

    patience: float

    def first(self, seen: Seen) -> str:
        """Return shell text that runs before the changes, in the same script."""
        ...

    def last(self, plan: HostPlan) -> str:
        """Return shell text that runs after the changes, in the same script."""
        ...

    def refusal(self, answer: Facts) -> str | None:
        """Return why the script stopped before any change, from its output; None if it did not."""
        ...

    def enter(self) -> Transport:
        """Return a transport over a new login; raises a TransportError if the login fails."""
        ...

    def probes(self, plan: HostPlan) -> Sequence[Probe]:
        """Return the probes that the decision needs beyond those of the sections."""
        ...

    def lapsed(self, plan: HostPlan, facts: Facts) -> bool:
        """Tell whether the host rolled back while it was being read, so that this says nothing."""
        ...

    def demands(self, before: Seen, now: Seen) -> str | None:
        """Return why the change must not stay, from the host's state before and now; None = it may stay."""
        ...

    def keep(self, transport: Transport, plan: HostPlan, record: str) -> bool:
        """Make the change permanent and run ``record``; return False if the host had already rolled back."""
        ...

    def roll_back(self, look: Look, plan: HostPlan, via: Transport | None) -> RollbackResult:
        """Roll the change back; ``via`` is a new login that works, None if there is none."""
        ...


KEPT = "/run/labrun-kept"
"""The directory of the copies while a run without a guard may still have to undo."""


def kept_functions(parts: Sequence[SectionPlan]) -> str:
    """Return the shell functions that save and restore the files of these sections."""
    paths = dict.fromkeys(path for part in parts for path in part.saves)
    number_of = function("number_of", f'position "$1" {words(paths)}')
    return assigned({"kept": KEPT}) + number_of + guest_script("kept")


class NewLogin:
    """Confirm by a new key-only login; without one, undo over the session that is still open.

    What cannot be undone from here (a NIC that went down with the session) stays as it is: that takes a
    guard in the guest. A change that took only in part stays too, and its rows say so.
    """

    patience = math.inf

    def __init__(self, session: Transport, login: Login):
        self._session = session
        self._login = login

    def first(self, seen: Seen) -> str:
        """Return the text that saves copies of what an undo would have to restore."""
        parts = _undoable(seen.plan)
        paths = words(path for part in parts for path in part.saves)
        return f"( {kept_functions(parts)}keep {paths}\n)\n" if paths else ""

    def last(self, plan: HostPlan) -> str:
        """Return nothing: there is no guard to arm."""
        return ""

    def refusal(self, answer: Facts) -> str | None:
        """Return None: nothing is tested before the changes."""
        return None

    def enter(self) -> Transport:
        """Return the transport of a new login."""
        return self._login()

    def probes(self, plan: HostPlan) -> Sequence[Probe]:
        """Return nothing: the new login is the only condition."""
        return ()

    def lapsed(self, plan: HostPlan, facts: Facts) -> bool:
        """Return False: the host does nothing by itself."""
        return False

    def demands(self, before: Seen, now: Seen) -> str | None:
        """Return None: the new login is the only condition."""
        return None

    def keep(self, transport: Transport, plan: HostPlan, record: str) -> bool:
        """Run ``record``; the change is in place already."""
        remember(transport, record)
        return True

    def roll_back(self, look: Look, plan: HostPlan, via: Transport | None) -> RollbackResult:
        """Run the undo scripts, the last section's first, over the session that made the change."""
        parts = _undoable(plan)
        answer: Mapping[str, Captured] = {}
        if parts and via is None:
            mark = marker()
            texts = [(part.section, live_values(part) + part.undo) for part in reversed(parts)]
            script = apply_script(texts, mark, first=kept_functions(parts))
            with suppress(TransportError, CommandError):
                done = self._session.run(script, timeout=_SECONDS, sudo=True)
                answer = parse_facts(done.stdout, mark).commands
        ended = frozenset(name for name, each in answer.items() if each.status == 0)
        return RollbackResult(put_back=ended, otherwise="the change is in place")


def _undoable(plan: HostPlan) -> list[SectionPlan]:
    return [part for part in plan.sections if part.apply and part.undo]


def live_values(part: SectionPlan) -> str:
    """Return shell text that restores the kernel values a section changes."""
    return "".join(f"printf '%s\\n' {quote(value)} >{quote(path)}\n" for path, value in part.kernel)
