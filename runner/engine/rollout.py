"""Decide which host may begin: canary and growing batches, redundancy groups, and a failure limit."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.errors import UsageError

__all__ = [
    "ALL_AT_ONCE",
    "Agenda",
    "MaxFail",
    "Rollout",
    "batches",
    "max_fail_of",
    "next_host",
    "ordered",
    "parse_max_fail",
]

_MAX_FAIL = re.compile(r"(?P<number>\d{1,9})(?P<percent>%?)")


@dataclass(frozen=True, slots=True)
class MaxFail:
    """The number of hosts that may fail before no further host begins, or with ``percent`` a share."""

    number: int
    percent: bool = False

    def of(self, hosts: int) -> int:
        """Return the number of ``hosts`` that may fail. A share is rounded down."""
        return hosts * self.number // 100 if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}{'%' if self.percent else ''}"


def parse_max_fail(text: str) -> MaxFail:
    """Parse ``--max-fail``. Raises UsageError if it is neither a number nor a share."""
    match = _MAX_FAIL.fullmatch(text.strip())
    if match is None or not match["number"].isascii():
        hint = "a number of hosts, such as 2, or a share of those selected, such as 10%"
        raise UsageError(f"{text!r} is not a number of hosts", step="--max-fail", hint=hint)
    max_fail = MaxFail(int(match["number"]), bool(match["percent"]))
    if max_fail.percent and max_fail.number > 100:
        raise UsageError(f"{text!r} is more than all hosts", step="--max-fail", hint="at most 100%")
    return max_fail


def max_fail_of(canary: int | None, text: str | None) -> MaxFail | None:
    """Return the limit of ``--max-fail``; none may fail with ``--canary`` alone. Raises UsageError."""
    if text is not None:
        return parse_max_fail(text)
    # A canary that fails must stop the rollout, or it would be useless.
    return MaxFail(0) if canary is not None else None


@dataclass(frozen=True, slots=True)
class Rollout:
    """The rules of a run.

    ``canary`` is the size of the first batch (None = all at once), ``max_fail`` the number of failures
    allowed (None = any), ``groups`` the redundancy group of each host that has one. ``after`` has, for a host
    that is reached through others, those: it begins once they have ended, if they are in its batch.
    """

    canary: int | None = None
    max_fail: MaxFail | None = None
    groups: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    after: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))


ALL_AT_ONCE = Rollout()


def batches(hosts: Sequence[str], canary: int | None) -> tuple[tuple[str, ...], ...]:
    """Return the hosts in batches of ``canary``, twice that, four times that ..., in their order."""
    if canary is None:
        return (tuple(hosts),) if hosts else ()
    growing, start, size = [], 0, canary
    while start < len(hosts):
        growing.append(tuple(hosts[start : start + size]))
        start, size = start + size, size * 2
    return tuple(growing)


def ordered(*wishes: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return for each host those that it comes after, for :attr:`Rollout.after`; the first wishes count more.

    What would make a host wait for itself is left out: two routers may lead to each other.
    """
    after: dict[str, list[str]] = {}
    for wish in wishes:
        for host, others in wish.items():
            for other in others:
                if host != other and host not in _all_before(other, after):
                    after.setdefault(host, []).append(other)
    return {host: tuple(dict.fromkeys(others)) for host, others in after.items()}


def _all_before(host: str, after: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    left = [host]
    while left:
        new = [each for each in after.get(left.pop(), ()) if each not in found]
        found.update(new)
        left += new
    return found


def next_host(waiting: Iterable[str], groups: Mapping[str, str], taken: Container[str]) -> str | None:
    """Return the first waiting host whose redundancy group is not ``taken``, None if there is none."""
    return next((host for host in waiting if groups.get(host) not in taken), None)


class Agenda:
    """The state of a rollout in progress; the runner holds a lock around every call.

    ``begin`` hands out hosts, ``end`` records their results. Hosts that will never begin are in
    ``held_back`` with the reason.
    """

    def __init__(self, hosts: Sequence[str], rollout: Rollout = ALL_AT_ONCE):
        self._groups = rollout.groups
        self._after = rollout.after
        self._batches = [list(batch) for batch in batches(hosts, rollout.canary)]
        self._allowed = rollout.max_fail.of(len(hosts)) if rollout.max_fail is not None else None
        self._max_fail = rollout.max_fail
        self._running: set[str] = set()
        self._lost: dict[str, str] = {}
        self._failed = 0
        self.held_back: dict[str, str] = {}
        self.is_dropped = False

    @property
    def waiting(self) -> list[str]:
        """Return the hosts that have not begun and still may."""
        return [host for batch in self._batches for host in batch]

    def begin(self) -> str | None:
        """Return the next host that may begin, and count it as running. Return None if there is none."""
        while self._batches and not self._batches[0] and not self._running:
            del self._batches[0]
        if not self._batches:
            return None
        taken = {self._groups[host] for host in self._running if host in self._groups}
        pending = self._running.union(self._batches[0])
        may = (each for each in self._batches[0] if pending.isdisjoint(self._after.get(each, ())))
        host = next_host(may, self._groups, taken)
        if host is not None:
            self._batches[0].remove(host)
            self._running.add(host)
        return host

    def end(self, host: str, *, well: bool, known: bool = True) -> None:
        """Record how a running host ended; not ``known`` = it may still be changing."""
        self._running.discard(host)
        if not known and (group := self._groups.get(host)) is not None:
            self._lost[group] = host
            for other in self.waiting:
                if self._groups.get(other) == group:
                    self._hold(other, f"{host} of its redundancy group {group} may still be changing")
        if well:
            return
        self._failed += 1
        if self._allowed is not None and self._failed > self._allowed:
            failed = f"{self._failed} host{'s' if self._failed > 1 else ''} failed"
            for other in self.waiting:
                self._hold(other, f"{failed}, and --max-fail is {self._max_fail}")

    def drop(self) -> list[str]:
        """Drop all waiting hosts, so that no more begin, and return them."""
        self.is_dropped = True
        dropped = self.waiting
        self._batches.clear()
        return dropped

    def _hold(self, host: str, why: str) -> None:
        for batch in self._batches:
            if host in batch:
                batch.remove(host)
        self.held_back[host] = why
