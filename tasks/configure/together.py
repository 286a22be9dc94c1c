"""Changes that two ends of a link must make at the same time, such as a moved subnet.

The host that leads to others is changed first, and usually they answer through it afterwards. If they do not,
it rolls back, and those that the same run has yet to change are left for a second attempt. There all of them
change together: they are read first, changed from the far end, and confirmed only if each of them is good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from enum import IntEnum

from labrun.errors import CommandError
from labrun.ports import Transport
from labrun.tasks.configure.behind import Behind
from labrun.tasks.configure.confirmation import APPLY_SECONDS, Login, Look, RollbackResult
from labrun.tasks.configure.guard import Guard
from labrun.tasks.configure.guard_script import GuardToken
from labrun.tasks.configure.plan import HostPlan, Seen
from labrun.tasks.guest.deadline import pace
from labrun.tasks.guest.shell import Facts

__all__ = ["CUTS", "TOGETHER", "AloneError", "Cuts", "Stage", "Together", "TogetherGuard"]

CUTS = "labrun_cuts"
"""Where a host's data holds the :class:`Cuts` of the first attempt."""
TOGETHER = "labrun_together"
"""Where a host's data holds the :class:`Together` of the second attempt."""

# How long the slowest of the hosts may take to be read before the first of them changes (seconds).
_READING = 90.0
# How long the hosts behind this one may take to change (seconds): if it gave up before, they would change
# alone. Nobody waits for one that has ended.
_CHANGING = float(APPLY_SECONDS)


class AloneError(CommandError):
    """Nothing was changed: no host that was cut off has anything to change at the same time."""


class Cuts:
    """Which hosts were cut off by a change of the run that was rolled back; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut: dict[str, frozenset[str]] = {}
        self._left: set[str] = set()

    def note(self, host: str, names: Collection[str]) -> None:
        """Record that ``names`` no longer answered through ``host`` after its change."""
        with self._lock:
            self._cut[host] = frozenset(names)

    def leave(self, host: str) -> str | None:
        """Return the host whose change cut this one off: it is left for both. None if nobody's did."""
        with self._lock:
            by = next((carrier for carrier, names in self._cut.items() if host in names), None)
            if by is not None:
                self._left.add(host)
            return by

    def left(self) -> dict[str, frozenset[str]]:
        """Return the hosts that were left, by the one that cut them off."""
        with self._lock:
            cut = {host: names & self._left for host, names in self._cut.items()}
        return {host: names for host, names in cut.items() if names}


class Stage(IntEnum):
    """How far a host is in a change that several make together."""

    BEGUN = 0
    READ = 1
    """It has something to change that the others may depend on."""
    MADE = 2
    GOOD = 3
    """A new login found everything as declared."""


class Together:
    """The stages of hosts that change together; safe from any thread.

    ``leading`` has, for each host that leads to others of them, those.
    """

    def __init__(self, leading: Mapping[str, Collection[str]]) -> None:
        self.leading = {host: frozenset(names) for host, names in leading.items()}
        self._stages = dict.fromkeys([*self.leading, *(each for names in leading.values() for each in names)])
        self._ended: set[str] = set()
        self._changed = threading.Condition()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return all of them."""
        return tuple(self._stages)

    def reach(self, host: str, stage: Stage) -> None:
        """Record how far a host is."""
        with self._changed:
            self._stages[host] = stage
            self._changed.notify_all()

    def end(self, host: str) -> None:
        """Record that a host gets no further; nobody waits for it any more."""
        with self._changed:
            self._ended.add(host)
            self._changed.notify_all()

    def joined(self, host: str) -> frozenset[str]:
        """Return the others that have been read with something to change."""
        with self._changed:
            return frozenset(name for name in self._stages if name != host and self._is_at(name, Stage.READ))

    def missing(self, names: Collection[str], stage: Stage, seconds: float) -> list[str]:
        """Wait until each of ``names`` is at ``stage`` or has ended; return those that are not at it."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                if all(self._is_at(name, stage) or name in self._ended for name in names):
                    break
                self._changed.wait(left)
            return sorted(name for name in names if not self._is_at(name, stage))

    def _is_at(self, name: str, stage: Stage) -> bool:
        at = self._stages[name]
        return at is not None and at >= stage


class TogetherGuard(Guard):
    """The guard of one host among several that change together: none is confirmed without the others.

    A host whose NICs stay as they are takes no part: its guard is the ordinary one.
    """

    def __init__(
        self,
        token: GuardToken,
        session: Transport,
        login: Login,
        old_login: Login,
        behind: Collection[Behind] = (),
        *,
        host: str,
        together: Together,
    ):
        super().__init__(token, session, login, old_login, tuple(behind))
        self._host = host
        self._together = together
        self._others: frozenset[str] = frozenset()

    def first(self, seen: Seen) -> str:
        """Return the text that arms the guard, once all are read and those behind this host have changed.

        Raises AloneError if it would be the only one to change, CommandError if one behind it did not.
        """
        text = super().first(seen)
        if not any(part.section == "nmcli" and part.apply for part in seen.plan.sections):
            self._together.end(self._host)
            return text
        self._together.reach(self._host, Stage.READ)
        pace().extend(_READING + _CHANGING + self.patience * 4)
        others = [name for name in self._together.hosts if name != self._host]
        self._together.missing(others, Stage.READ, _READING)
        self._others = self._together.joined(self._host)
        following = self._together.leading.get(self._host, frozenset())
        if following and not self._others:
            raise AloneError("no host behind it has anything to change at the same time")
        late = self._together.missing(following & self._others, Stage.MADE, _CHANGING)
        if late:
            raise CommandError(f"{', '.join(late)}, which must change at the same time, did not")
        return text

    def refusal(self, answer: Facts) -> str | None:
        """Return why the guard was not armed."""
        why = super().refusal(answer)
        if why is None and self._others:
            self._together.reach(self._host, Stage.MADE)
        return why

    def enter(self) -> Transport:
        """Return the transport of a new login, once all have changed."""
        self._together.missing(self._others, Stage.MADE, self.patience)
        return super().enter()

    def demands(self, before: Seen, now: Seen) -> str | None:
        """Return why the change must not stay: the guard's own reason, or one of the others is not good."""
        fault = super().demands(before, now)
        if fault is not None or not self._others:
            return fault
        self._together.reach(self._host, Stage.GOOD)
        bad = self._together.missing(self._others, Stage.GOOD, self.patience)
        if bad:
            return f"{', '.join(bad)}, which must change at the same time, could not be confirmed"
        return None

    def roll_back(self, look: Look, plan: HostPlan, via: Transport | None) -> RollbackResult:
        """Have the host roll back, and the others no longer wait for it."""
        self._together.end(self._host)
        return super().roll_back(look, plan, via)
