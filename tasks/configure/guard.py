"""The guard: a host takes a change back by itself unless labrun comes in anew, looks, and confirms."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labrun.errors import CommandError, LabrunError, TransportError
from labrun.ports import Transport
from labrun.tasks.configure.confirmation import Login, Look, Return, remember
from labrun.tasks.configure.gateways import silent
from labrun.tasks.configure.guard_script import (
    DIRECTORY,
    Ticket,
    arm,
    confirm,
    guarded,
    nothing_more,
    trigger,
)
from labrun.tasks.configure.guard_state import Standing, refusal, standing, took_back
from labrun.tasks.configure.plan import HostPlan, Seen
from labrun.tasks.configure.shell import Facts, apply_script, marker, parse_facts
from labrun.tasks.pacing import pace

__all__ = ["Guard", "clear_leftover", "close"]

_SECONDS = 30.0
# A session whose address is gone answers nothing: it is not waited for longer than this.
_TELL = 5.0
# How long after its time a host may still be about to go back, NICs and sshd included.
_MARGIN = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 3.0


class Guard:
    """Confirm a change over a new login with nothing left to do, else see the host go back.

    ``session`` made the change; ``login`` comes in where the host should answer now, ``old_login``
    where the session had come in.
    """

    def __init__(self, ticket: Ticket, session: Transport, login: Login, old_login: Login):
        # Of the time to confirm, what is needed to look again and to go back in good order stays.
        self.patience = ticket.seconds / 2
        self._ticket = ticket
        self._session = session
        self._login = login
        self._old_login = old_login
        self._asked_to_keep = False
        self._made = False

    def first(self, plan: HostPlan) -> str:
        """Return the text that arms the guard."""
        return arm(self._ticket, plan)

    def last(self, plan: HostPlan) -> str:
        """Return the text from which on the time to confirm runs."""
        return nothing_more(self._ticket) if guarded(plan) else ""

    def refusal(self, said: Facts) -> str | None:
        """Return why the guard was not armed."""
        self._made = bool(said.commands)
        return refusal(said)

    def enter(self) -> Transport:
        """Return the transport of a new login."""
        return self._login()

    def demands(self, plan: HostPlan, now: Seen) -> str | None:
        """Return that the host has gone back, or what the guard covers and is not as declared."""
        if took_back(now.facts, self._ticket.run) is not None:
            return f"no new login found it as declared within {self._ticket.seconds} s"
        gateways = [address for part in plan.sections for address in part.gateways]
        mute = silent(now.facts, gateways)
        if mute:
            return f"the gateway {mute[0]} does not answer"
        return _unmet(plan, now.plan)

    def keep(self, transport: Transport, plan: HostPlan, record: str) -> bool:
        """Confirm and run ``record`` in one script; False where the host has gone back."""
        if not guarded(plan):
            remember(transport, record)
            return True
        mark = marker()
        script = apply_script([], mark, first=confirm(self._ticket, record))
        self._asked_to_keep = True
        done = transport.run(script, timeout=_SECONDS, sudo=True)
        said = parse_facts(done.stdout, mark).commands.get("confirm")
        return said is not None and said.status == 0

    def go_back(self, look: Look, plan: HostPlan, via: Transport | None) -> Return:
        """Have the host go back at once where a session works, else wait until it does by itself."""
        if not guarded(plan):
            return Return()
        run = self._ticket.run
        pace().extend(2 * _TELL + _MARGIN)
        told = any(_tell(each, "now", run) for each in (via, self._session) if each is not None)
        # Of a script that was cut off nobody knows when its time to confirm began.
        longest = 0 if told else self._ticket.seconds + (0 if self._made else self._ticket.applying)
        pace().extend(longest + 2 * _MARGIN)
        seen = _gone(look, self._old_login, run, longest + _MARGIN)
        if seen is None:
            return Return()
        if took_back(seen.facts, run) is None:
            return Return(seen, stayed=self._asked_to_keep)
        return Return(seen)


def _unmet(plan: HostPlan, now: HostPlan) -> str | None:
    """Return what of the changes is not in place, or cannot be told any more."""
    after = {part.section: part for part in now.sections}
    found = now.items()
    for part in guarded(plan):
        if part.partial:
            continue
        left = after.get(part.section)
        if left is not None and left.apply:
            return ", ".join(f"{part.section} {item.name}" for item in left.changes) + " did not take"
        for item in part.changes:
            # What the plan had said already, such as a file that counts more, is no news.
            here = found.get((part.section, item.name))
            if here is not None and here.state == "refused" and here.why != item.why:
                return here.why or f"{part.section} {item.name} cannot be told"
    return None


def _tell(transport: Transport, occasion: str, run: str) -> bool:
    """Have the host begin to undo beside the session; False where that cannot be told to it."""
    try:
        transport.run(f"trap '' HUP PIPE\n{trigger(occasion, run)}", timeout=_TELL, sudo=True)
    except LabrunError:
        return False
    return True


def _gone(look: Look, login: Login, run: str, longest: float) -> Seen | None:
    """Wait over new logins until the guard of ``run`` is no more; None when ``longest`` seconds passed."""
    until = time.monotonic() + longest
    pause = _FIRST_PAUSE
    # The run's own wish to stop does not end this: a host is left where it can be told how it is.
    nobody = threading.Event()
    while True:
        fresh: Transport | None = None
        try:
            fresh = login()
            seen = look(fresh)
            here = standing(seen.facts)
            if here is None or here.run != run:
                return seen
        except (TransportError, CommandError):
            pass
        finally:
            close(fresh)
        if time.monotonic() + pause >= until:
            return None
        nobody.wait(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def clear_leftover(left: Standing, session: Transport, login: Login, look: Look) -> Seen:
    """Have the host undo what a dead run left behind, and return how it is then.

    Raises CommandError when it does not come to an end.
    """
    _tell(session, "again", left.run)
    seen = _gone(look, login, left.run, _MARGIN)
    if seen is None:
        raise CommandError(
            f"what run {left.run} left unconfirmed could not be taken back",
            step="guard",
            hint=f"on the host, as root: sh {DIRECTORY}/undo again {left.run}",
        )
    return seen


def close(transport: Transport | None) -> None:
    """Close a transport that has something to close."""
    ending: Callable[[], None] | None = getattr(transport, "close", None)
    if ending is not None:
        ending()
