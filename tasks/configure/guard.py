"""The guard: a host rolls a change back by itself unless labrun logs in again, checks, and confirms."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from labrun.errors import CommandError, LabrunError, TransportError
from labrun.ports import Transport
from labrun.tasks.configure.behind import Behind, answering, cut_off
from labrun.tasks.configure.confirmation import Login, Look, RollbackResult, remember
from labrun.tasks.configure.gateway_probe import answers_probe, silent
from labrun.tasks.configure.guard_script import (
    GuardToken,
    applying_seconds,
    arm,
    confirm,
    guarded,
    is_wide,
    nothing_more,
    trigger,
)
from labrun.tasks.configure.plan import HostPlan, Seen
from labrun.tasks.configure.unmet import unmet
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.facts.guard import GUARD as DIRECTORY
from labrun.tasks.guest.facts.guard import Standing, goes_back, refusal, rolled_back, standing
from labrun.tasks.guest.shell import Facts, Probe, apply_script, marker, parse_facts

__all__ = ["Guard", "clear_leftover", "close", "confirming_seconds"]

_SECONDS = 30.0
# A session whose address is gone never answers: do not wait for it longer than this.
_TELL = 5.0
# How long after its deadline a host may still start to roll back, NICs and sshd included.
_MARGIN = 30.0
# The extra time for a host's checks after the rollback, and a reboot as the last resort.
_RESTART = 120.0
# How long a host behind a router may take to answer again; behind a slow router it takes longer.
_ASK = 12.0
# A shorter time to confirm than this was chosen explicitly, and is kept (seconds).
_USUAL = 60
# A confirmation takes a login, two readings and a script: this many times a reading, and never longer than:
_READINGS, _LONGEST_TIME = 8, 600
# A host with a processor to itself is read in this time (seconds); one that takes longer also takes longer to
# roll back and to restart, up to so many times.
_ORDINARY, _MOST_SLOW = 1.0, 5.0
# How long a host that is seen rolling back is waited for in all (seconds).
_AT_WORK = 300.0
# How long what a host has put back may take to come into effect (seconds).
_CALM = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 3.0


def confirming_seconds(asked: int, reading: float) -> int:
    """Return how long a host waits for the confirmation if reading it took ``reading`` seconds."""
    return asked if asked < _USUAL else max(asked, min(_LONGEST_TIME, math.ceil(_READINGS * reading)))


def _untold(_names: Sequence[str]) -> None:
    pass


class Guard:
    """Confirm a change over a new login with nothing left to do, otherwise wait for the rollback.

    ``session`` made the change; ``login`` connects to where the host should answer now, ``old_login``
    to where the session had connected. ``behind`` are hosts that are reached through this one: those
    that answered before must answer again. ``cut`` is told the names of those that do not.
    """

    def __init__(
        self,
        token: GuardToken,
        session: Transport,
        login: Login,
        old_login: Login,
        behind: Sequence[Behind] = (),
        cut: Callable[[Sequence[str]], None] = _untold,
    ):
        # Part of the time to confirm is reserved for another check and an orderly rollback.
        self.patience = token.seconds / 2
        self._token = token
        self._session = session
        self._login = login
        self._old_login = old_login
        self._asked_to_keep = False
        self._made = False
        self._slow = 1.0
        self._address: str | None = None
        self._behind = behind
        self._cut = cut
        self._answered: Sequence[Behind] = ()

    def first(self, seen: Seen) -> str:
        """Return the text that arms the guard; a slow host gets more time to confirm."""
        plan = seen.plan
        self._slow = min(_MOST_SLOW, max(1.0, seen.seconds / _ORDINARY))
        self._token = replace(self._token, seconds=confirming_seconds(self._token.seconds, seen.seconds))
        self.patience = self._token.seconds / 2
        # Whatever the run's deadline: the host waits for as long, and what is good must not be rolled back.
        if guarded(plan):
            pace().extend(applying_seconds(self._token, plan) + self._token.seconds)
        self._answered = answering(self._behind) if guarded(plan) else ()
        return arm(self._token, plan)

    def last(self, plan: HostPlan) -> str:
        """Return the text that starts the time to confirm."""
        return nothing_more(self._token, plan)

    def refusal(self, answer: Facts) -> str | None:
        """Return why the guard was not armed."""
        self._made = bool(answer.commands)
        return refusal(answer)

    def enter(self) -> Transport:
        """Return the transport of a new login."""
        fresh = self._login()
        self._address = getattr(fresh, "address", None)
        return fresh

    def probes(self, plan: HostPlan) -> Sequence[Probe]:
        """Return the probes of new gateways, and of the next boot if anything may have changed."""
        gateways = _gateways(plan)
        also = [answers_probe(gateways)] if gateways else []
        if not is_wide(plan):
            return also
        from labrun.tasks.configure.next_boot import next_boot_probe

        return [*also, next_boot_probe()]

    def lapsed(self, plan: HostPlan, facts: Facts) -> bool:
        """Tell whether the guard, which stands until the confirmation, was gone when a look ended."""
        return bool(guarded(plan)) and standing(facts) is None and rolled_back(facts, self._token.run) is None

    def demands(self, before: Seen, now: Seen) -> str | None:
        """Return that the host has rolled back, what is not as declared, or what would block a new login."""
        back = rolled_back(now.facts, self._token.run)
        if back is not None:
            if back.occasion == "cut":
                return "the run was stopped before the change was made"
            return f"no new login found it as declared within {self._token.seconds} s"
        if goes_back(now.facts, self._token.run):
            return "no new login saw the change in place"
        plan = before.plan
        if not guarded(plan):
            return None
        mute = silent(now.facts, _gateways(plan))
        if mute:
            return f"the gateway {mute[0]} does not answer"
        return unmet(plan, now.plan) or self._next_boot(before, now) or self._cut_off()

    def _next_boot(self, before: Seen, now: Seen) -> str | None:
        """Return why labrun could not log in after the next boot; None where it never does."""
        if self._address is None:
            return None
        from labrun.tasks.configure.next_boot import next_boot_fault

        return next_boot_fault(before, now, self._address)

    def _cut_off(self) -> str | None:
        """Return which hosts behind this one answered before the change and do not now."""
        names = [host["name"] for host in cut_off(self._answered, min(_ASK * self._slow, self.patience))]
        if not names:
            return None
        self._cut(names)
        ending = "answers" if len(names) == 1 else "answer"
        return f"reached through this host, {', '.join(names)} no longer {ending}"

    def keep(self, transport: Transport, plan: HostPlan, record: str) -> bool:
        """Confirm and run ``record`` in one script; return False if the host has rolled back."""
        if not guarded(plan):
            remember(transport, record)
            return True
        mark = marker()
        script = apply_script([], mark, first=confirm(self._token.run, record))
        self._asked_to_keep = True
        done = transport.run(script, timeout=_SECONDS, sudo=True)
        answer = parse_facts(done.stdout, mark).commands.get("confirm")
        return answer is not None and answer.status == 0

    def roll_back(self, look: Look, plan: HostPlan, via: Transport | None) -> RollbackResult:
        """Have the host roll back at once if a session works, else wait until it does so by itself."""
        if not guarded(plan):
            return RollbackResult()
        run = self._token.run
        margin = _MARGIN * self._slow
        restart = _RESTART * self._slow if self._token.reboots else 0.0
        pace().extend(2 * _TELL + margin + restart)
        heard = any(_tell(each, "now", run) for each in (via, self._session) if each is not None)
        # After a script was cut off, the start of its time to confirm is unknown.
        making = 0 if self._made else applying_seconds(self._token, plan)
        # One that heard is at work, which cannot be seen while logins lead elsewhere.
        longest = margin if heard else self._token.seconds + making
        pace().extend(longest + 2 * margin + restart)
        seen = _gone(look, self._old_login, run, longest + margin + restart)
        if seen is None:
            return RollbackResult()
        found = rolled_back(seen.facts, run)
        if found is None:
            return RollbackResult(seen, stayed=self._asked_to_keep)
        if not found.differences and not found.goes_on:
            seen = _calm(look, self._old_login, plan, seen)
        return RollbackResult(seen, differences=found.differences, goes_on=found.goes_on)


def _gateways(plan: HostPlan) -> list[str]:
    return [address for part in plan.sections for address in part.gateways]


def _tell(transport: Transport, occasion: str, run: str) -> bool:
    """Start the host's rollback in a separate process; return False if the request fails."""
    try:
        transport.run(f"trap '' HUP PIPE\n{trigger(occasion, run)}", timeout=_TELL, sudo=True)
    except LabrunError:
        return False
    return True


def _gone(look: Look, login: Login, run: str, longest: float) -> Seen | None:
    """Poll over new logins until the guard of ``run`` is gone, or reports that it will take longer.

    Returns None if ``longest`` seconds have passed, or more if the host is seen at work. A look that began
    before the guard was gone is repeated: part of it may be older than the end of the rollback.
    """
    until = time.monotonic() + longest
    at_most = max(until, time.monotonic() + _AT_WORK)
    pause = _FIRST_PAUSE
    was_gone = False
    # The request to stop the run does not end this: the host's final state has to be known.
    never = threading.Event()
    while True:
        fresh: Transport | None = None
        try:
            fresh = login()
            seen = look(fresh)
            here = standing(seen.facts)
            found = rolled_back(seen.facts, run)
            is_gone = here is None or here.run != run
            # Files are read first, the guard last, and the host writes its record when all is undone.
            if found is not None and (is_gone or found.goes_on):
                return seen
            if is_gone and was_gone:
                return seen
            was_gone = is_gone
            if is_gone:
                continue
            if "guard undoing" in seen.facts.words:
                until = max(until, min(at_most, time.monotonic() + _MARGIN))
                pace().extend(until - time.monotonic() + _MARGIN)
        except (TransportError, CommandError):
            pass
        finally:
            close(fresh)
        if time.monotonic() + pause >= until:
            return None
        never.wait(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _calm(look: Look, login: Login, plan: HostPlan, seen: Seen) -> Seen:
    """Return a host's state once it is as in ``plan``, or its last one: daemons may still be at work."""
    pace().extend(_CALM + _TELL)
    until = time.monotonic() + _CALM
    never = threading.Event()
    while seen.plan.items() != plan.items() and time.monotonic() < until:
        never.wait(_FIRST_PAUSE)
        fresh: Transport | None = None
        try:
            fresh = login()
            seen = look(fresh)
        except (TransportError, CommandError):
            pass
        finally:
            close(fresh)
    return seen


def clear_leftover(left: Standing, session: Transport, login: Login, look: Look) -> Seen:
    """Have the host undo the leftovers of a dead run, and return its state afterwards.

    Raises CommandError if that does not finish.
    """
    pace().extend(_TELL + 2 * _MARGIN)
    _tell(session, "again", left.run)
    seen = _gone(look, login, left.run, 2 * _MARGIN)
    here = standing(seen.facts) if seen is not None else None
    if seen is None or (here is not None and here.run == left.run):
        found = rolled_back(seen.facts, left.run) if seen is not None else None
        reason = f": {found.differences[0]}" if found is not None and found.differences else ""
        raise CommandError(
            f"what run {left.run} left unconfirmed could not be rolled back{reason}",
            step="guard",
            hint=f"on the host, as root: sh {DIRECTORY}/undo again {left.run}",
        )
    return seen


def close(transport: Transport | None) -> None:
    """Close a transport if it can be closed."""
    ending: Callable[[], None] | None = getattr(transport, "close", None)
    if ending is not None:
        ending()
