"""How long each trace, ping and check took in the guest, and what was left for reading everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from labrun.outcome import Outcome, Pair
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["TIMED", "TIMES", "Durations", "read_durations", "with_durations"]

TIMED: Final = guest_script("timed")
"""Shell that defines ``timed NAME.NUMBER COMMAND...``; needs room."""
TIMES: Final = Probe(script='capture took cat "$tmp/took"\n')
_LINE: Final = re.compile(r"(trace|ping|check)\.(\d{1,6}) (\d{1,10}\.\d\d) (\d{1,10}\.\d\d)")
_MOST: Final = 20_000
"""Lines to read: a guest may print more than it was asked for."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds by path (target host and IP version) and by check; ``rest`` was not spent on any of them."""

    paths: Mapping[tuple[str, int], float] = field(default_factory=lambda: MappingProxyType({}))
    checks: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    rest: float = 0.0

    def and_later(self, later: Durations) -> Durations:
        """Return these with those of a later round, in which checks that may wait were tried again."""
        paths = {**self.paths, **{key: self.paths.get(key, 0.0) + more for key, more in later.paths.items()}}
        checks = {
            **self.checks,
            **{name: self.checks.get(name, 0.0) + more for name, more in later.checks.items()},
        }
        return replace(self, paths=MappingProxyType(paths), checks=MappingProxyType(checks))


def read_durations(facts: Facts, spec: CollectSpec, seconds: float) -> Durations:
    """Return what a host noted of a script that took ``seconds`` in all; nothing if it noted nothing."""
    output = facts.commands.get("took")
    lines = [] if output is None else output.text.splitlines()[:_MOST]
    noted = [match for line in lines if (match := _LINE.fullmatch(line)) is not None]
    spent: dict[tuple[str, int], float] = {}
    for kind, number, began, ended in (match.groups() for match in noted):
        step = kind, int(number)
        spent[step] = spent.get(step, 0.0) + _between(float(began), float(ended), seconds)
    targets: dict[tuple[str, int], tuple[str, int]] = {
        **{("ping", number): (asked.to, asked.address.version) for number, asked in enumerate(spec.pings)},
        **{("trace", number): (asked.to, asked.address.version) for number, asked in enumerate(spec.traces)},
    }
    paths = {target: spent[step] for step, target in targets.items() if step in spent}
    checks = {
        asked.name: spent["check", number]
        for number, asked in enumerate(spec.checks)
        if ("check", number) in spent
    }
    return Durations(MappingProxyType(paths), MappingProxyType(checks), _rest(noted, seconds))


def _between(began: float, ended: float, most: float) -> float:
    # A guest's own words: none of its steps can have taken longer than its script.
    return min(max(ended - began, 0.0), most)


def _rest(noted: Sequence[re.Match[str]], seconds: float) -> float:
    """Return the seconds before the first step and after the last one."""
    if not noted:
        return seconds
    span = max(float(match[4]) for match in noted) - min(float(match[3]) for match in noted)
    return max(seconds - max(span, 0.0), 0.0)


def with_durations(rows: Sequence[Outcome], durations: Durations) -> list[Outcome]:
    """Return one host's rows with their seconds.

    Addresses, routes and settings are read at once: each of these rows has an equal part of that.
    """
    own = [_own(row, durations) for row in rows]
    shared = sum(seconds is None for seconds in own)
    part = durations.rest / shared if shared else 0.0
    return [
        replace(row, seconds=part if seconds is None else seconds)
        for row, seconds in zip(rows, own, strict=True)
    ]


def _own(row: Outcome, durations: Durations) -> float | None:
    """Return the seconds of what was tried for this row alone, None for a row of what was read."""
    if row.section == "check":
        seconds = durations.checks.get(row.name)
        if seconds is not None:
            return seconds
        return durations.paths.get(_key(row.subject), 0.0) if isinstance(row.subject, Pair) else 0.0
    if row.section == "path" and isinstance(row.subject, Pair):
        return durations.paths.get(_key(row.subject), 0.0)
    return None


def _key(pair: Pair) -> tuple[str, int]:
    return pair.target, pair.family
