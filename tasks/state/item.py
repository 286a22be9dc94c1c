"""One thing that labrun keeps as the lab file says, and the one comparison of it with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = ["NOTHING", "Attributes", "Difference", "Item", "State", "Words", "diff_of", "spelled"]

Attributes = Mapping[str, str]
"""The comparable properties of a thing as text, in the order in which they are shown."""

NOTHING: Attributes = MappingProxyType({})

State = Literal["ok", "change", "refused", "skipped", "left"]


class Difference(NamedTuple):
    """One attribute's value as it is and as it should be; empty = not there, not set."""

    now: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Words:
    """What people read of a thing whose attributes do not read well: a whole file, a ruleset, a profile.

    None = made from the attributes. ``diff`` has lines that begin with ``-`` and ``+``; it is shown only
    if something differs.
    """

    expected: str | None = None
    actual: str | None = None
    diff: str | None = None


_PLAIN = Words()


def _nothing() -> Attributes:
    return NOTHING


@dataclass(frozen=True, slots=True)
class Item:
    """One thing: what is wanted, what is there now, and what will be there after a restart.

    ``want`` follows from the file alone; empty = the thing should not exist. ``have`` empty = it does not, or
    its owner does not report it; an attribute that is reported as not set has an empty value. ``later`` has
    the attributes of ``have`` that change by themselves at the next start of their owner, a host that boots
    or a machine or network of libvirt: both values have to be as wanted. If there is anything in ``want``,
    other attributes are not compared. ``have`` and ``later`` are spelled like ``want``: the resource that
    makes the item knows which spellings mean the same. ``seen`` has the host's own spelling where ``have``
    has another: it depends on the host alone, and has nothing volatile.
    An attribute's name is one word, empty for the only one of a thing.
    ``refused`` says why it cannot be made so, ``skipped`` why it was not asked for, ``left`` why it is left
    although it is not as wanted: `configure` warns of it, for `verify` and `drift` it is a difference.
    ``note`` is what is worth knowing about the change. ``by_hand`` are the commands by which a person makes
    this one thing as wanted at once, empty if it takes more than a line.
    """

    name: str
    want: Attributes = field(default_factory=_nothing)
    have: Attributes = field(default_factory=_nothing)
    later: Attributes = field(default_factory=_nothing)
    seen: Attributes = field(default_factory=_nothing)
    refused: str | None = None
    skipped: str | None = None
    left: str | None = None
    note: str | None = None
    words: Words = _PLAIN
    by_hand: tuple[str, ...] = ()

    @property
    def differences(self) -> Mapping[str, Difference]:
        """Return the attributes that are not as wanted, now or after a restart."""
        found = {}
        for key in self.want or self.have:
            wanted, now = self.want.get(key, ""), self.have.get(key, "")
            then = self.later.get(key, now)
            if not now == then == wanted:
                found[key] = Difference(now if now != wanted else then, wanted)
        return found

    @property
    def state(self) -> State:
        """Return the judgement: what is refused or skipped counts as such whether it differs or not."""
        if self.skipped is not None:
            return "skipped"
        if self.refused is not None:
            return "refused"
        if self.left is not None:
            return "left"
        return "change" if self.differences else "ok"

    @property
    def why(self) -> str | None:
        """Return the reason to show with it, if there is one."""
        return self.skipped or self.refused or self.left or (self.note if self.state == "change" else None)

    @property
    def expected(self) -> str:
        """Return what is wanted, in words."""
        return _first(self.words.expected, _listed(self.want.values()) if self.want else "not declared")

    @property
    def actual(self) -> str:
        """Return what is there, in words, with what a restart will change."""
        shown = (
            _both(value, self.later.get(key, value))
            for key, value in self.have.items()
            if key in self.want or not self.want
        )
        return _first(self.words.actual, _listed(shown))

    @property
    def diff(self) -> str | None:
        """Return what would change as ``-`` and ``+`` lines, None if nothing would."""
        if self.state != "change":
            return None
        return _first(self.words.diff, diff_of(self.differences)) or None


def spelled(want: Attributes, seen: Attributes, holds: Mapping[str, bool]) -> Attributes:
    """Return ``have``: spelled like the file where it holds, and as the host does where it does not."""
    return {key: value if holds[key] else seen[key] for key, value in want.items()}


def diff_of(differences: Mapping[str, Difference]) -> str:
    """Return differences as ``-`` and ``+`` lines; an attribute without a name is shown without one."""
    lines = []
    for key, (now, wanted) in differences.items():
        label = f" {key}: " if key else ""
        lines += [f"-{label}{now}"] if now else []
        lines += [f"+{label}{wanted}"] if wanted else []
    return "\n".join(lines)


def _first(given: str | None, made: str) -> str:
    return made if given is None else given


def _listed(values: Iterable[str]) -> str:
    return ", ".join(filter(None, values))


def _both(now: str, then: str) -> str:
    if now == then:
        return now
    return f"{now} ({then} after a reboot)" if then else f"{now} (not kept across a reboot)"
