"""Match blocks of sshd's files: what they allow some users or addresses although the lab file forbids it.

The settings of a block count before those outside, whichever file is read first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from labrun.tasks.configure.sshd_profiles import settings_in
from labrun.tasks.guest.facts.sshd import (
    DROP_IN,
    MAIN,
    configuration,
    effective_settings,
    is_as_strict,
    meets,
    plain_value,
)
from labrun.tasks.guest.shell import Facts

__all__ = ["Reopened", "named", "reopened"]

_COMMENT = re.compile(r"(?:(?<=\s)|^)#.*")
_MOST_NAMED = 3
# Former names that sshd still takes.
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
}
# As sshd itself.
_DEEPEST = 16
_MOST_FILES = 64


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
    for each in _settings(configuration(facts)):
        values = want.get(each.key)
        if values is None or _is_kept(each.key, values, (each.value,)):
            continue
        output = facts.commands.get(f"sshd-match {each.criteria}")
        if output is not None and output.status == 0:
            there = effective_settings(output.text).get(each.key)
            if there is not None and _is_kept(each.key, values, there):
                continue
        found.setdefault(each.key, []).append(each)
    return {key: tuple(each) for key, each in found.items()}


def named(blocks: Sequence[Reopened]) -> str:
    """Return why a keyword does not hold for everyone, and what to do about it."""
    first = "; ".join(map(str, blocks[:_MOST_NAMED]))
    more = f"; and {len(blocks) - _MOST_NAMED} more" if len(blocks) > _MOST_NAMED else ""
    return f"{first}{more}: remove it there, labrun changes no sshd file but its own"


def _is_kept(key: str, want: Sequence[str], have: Sequence[str]) -> bool:
    if meets(key, want, {key: have}):
        return True
    return len(want) == len(have) == 1 and is_as_strict(key, want[0], have[0])


def _settings(files: Mapping[str, str]) -> Iterator[Reopened]:
    """Yield every setting in a Match block of the files, the drop-in of labrun's own left out.

    A file that is included in a block is a part of it; a block in a file ends with that file.
    """
    read: list[str] = []
    yield from _settings_in(MAIN, "", files, read, _DEEPEST)
    # What nothing includes any more counts too: it may be read by a pattern that is not understood here.
    for path in files:
        if path not in read:
            yield from _settings_in(path, "", files, read, _DEEPEST)


def _settings_in(
    path: str, around: str, files: Mapping[str, str], read: list[str], depth: int
) -> Iterator[Reopened]:
    if path == DROP_IN or path not in files or depth == 0 or len(read) >= _MOST_FILES:
        return
    read.append(path)
    criteria = around
    for setting in settings_in(files[path]):
        (value,) = setting.values
        if setting.key == "match":
            criteria = f"{around} {value}" if around else value
        elif setting.key == "include":
            for name in _included(value, files):
                yield from _settings_in(name, criteria, files, read, depth - 1)
        elif criteria:
            key = _ALIASES.get(setting.key, setting.key)
            yield Reopened(criteria, key, plain_value(key, _COMMENT.sub("", value)), path, setting.line)


def _included(value: str, files: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that a line of Include reads, each once."""
    for word in _COMMENT.sub("", value).replace('"', " ").split()[:_MOST_FILES]:
        pattern = word if word.startswith("/") else f"{MAIN.rpartition('/')[0]}/{word}"
        yield from (path for path in sorted(files) if fnmatchcase(path, pattern))
