"""Match blocks of sshd's files: what they allow some users or addresses although the lab file forbids it.

The settings of a block count before those outside, whichever file is read first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labrun.tasks.configure.sshd_profiles import settings_in
from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN, effective_settings, is_as_strict, meets, plain_value
from labrun.tasks.guest.shell import Facts

__all__ = ["Reopened", "named", "reopened"]

_COMMENT = re.compile(r"(?:(?<=\s)|^)#.*")
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Reopened:
    """A keyword with another value for some logins: the criteria as the file writes them, and where."""

    criteria: str
    key: str
    value: str
    file: str
    line: int

    def __str__(self) -> str:
        """Return it as a reason."""
        return f"Match {self.criteria} in {self.file}:{self.line} sets {self.key} {self.value}"


def reopened(facts: Facts, want: Mapping[str, Sequence[str]]) -> dict[str, tuple[Reopened, ...]]:
    """Return what Match blocks outside labrun's drop-in set less strictly than ``want``, by keyword.

    ``want`` has the values as :func:`plain_value` returns them. Where sshd was asked about a login that
    the block is for, and an earlier block has it right, there is nothing.
    """
    found: dict[str, list[Reopened]] = {}
    for each in _settings(facts.files):
        values = want.get(each.key)
        if values is None or _is_kept(each.key, values, (each.value,)):
            continue
        said = facts.commands.get(f"sshd-match {each.criteria}")
        if said is not None and said.status == 0:
            there = effective_settings(said.text).get(each.key)
            if there is not None and _is_kept(each.key, values, there):
                continue
        found.setdefault(each.key, []).append(each)
    return {key: tuple(each) for key, each in found.items()}


def named(blocks: Sequence[Reopened]) -> str:
    """Return why a keyword does not hold for everybody, and what to do about it."""
    first = "; ".join(map(str, blocks[:_MOST_NAMED]))
    more = f"; and {len(blocks) - _MOST_NAMED} more" if len(blocks) > _MOST_NAMED else ""
    return f"{first}{more}: take it out there, labrun changes no file of sshd's but its own"


def _is_kept(key: str, want: Sequence[str], have: Sequence[str]) -> bool:
    if meets(key, want, {key: have}):
        return True
    return len(want) == len(have) == 1 and is_as_strict(key, want[0], have[0])


def _settings(files: Mapping[str, str]) -> Iterator[Reopened]:
    """Yield every setting in a Match block; a block ends with its file."""
    for path, text in files.items():
        if path == DROP_IN or not (path == MAIN or path.startswith(f"{MAIN}.d/")):
            continue
        criteria = ""
        for setting in settings_in(text):
            (value,) = setting.values
            if setting.key == "match":
                criteria = value
            elif criteria:
                plain = plain_value(setting.key, _COMMENT.sub("", value))
                yield Reopened(criteria, setting.key, plain, path, setting.line)
