"""Which sysctl.d file sets a key at boot, as systemd-sysctl reads them (sysctl.d(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.errors import UnreadableError

__all__ = ["DIRECTORIES", "Winner", "settings_of", "winner"]

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
"""In order of precedence: a file hides those of the same name in later directories."""

_GLOB = re.compile(r"[*?\[]")
# More than any real settings file has; a guest may hold more, and each pattern gets compiled.
_MOST_PATTERNS, _LONGEST_KEY = 1_000, 400


@dataclass(frozen=True, slots=True)
class Winner:
    """The value that a boot sets, and the file it stands in."""

    value: str
    file: str


def _normal(key: str) -> str:
    separator = re.search(r"[./]", key)
    if separator is not None and separator.group() == ".":
        return key.translate(str.maketrans("./", "/."))
    return key


# Every wanted key is looked up in all files.
@lru_cache(maxsize=64)
def _lines(text: str) -> tuple[tuple[str, str | None], ...]:
    require_lines(text, "sysctl.d", SETTINGS_LINES)
    found = tuple(_settings(text))
    if sum(_GLOB.search(key) is not None for key, _ in found) > _MOST_PATTERNS:
        raise UnreadableError(f"more than {_MOST_PATTERNS} patterns", step="sysctl.d")
    return found


def _settings(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield ``key = value``, ``key`` alone (None) only where a dash before it exempts it from patterns."""
    for line in text.splitlines():
        bare = line.strip()
        name, sign, value = bare.removeprefix("-").partition("=")
        key = name.strip()
        if not key or key[0] in "#;" or len(key) > _LONGEST_KEY:
            continue
        if sign or bare.startswith("-"):
            yield _normal(key), value.strip() if sign else None


def settings_of(text: str) -> dict[str, str]:
    """Return the explicit settings of one file: value by path below /proc/sys, the last one wins."""
    return {key: value for key, value in _lines(text) if value is not None and not _GLOB.search(key)}


def _in_order(files: Mapping[str, str]) -> list[tuple[str, str]]:
    chosen: dict[str, str] = {}
    for directory in reversed(DIRECTORIES):
        for path in files:
            head, _, name = path.rpartition("/")
            if head == directory and name.endswith(".conf"):
                chosen[name] = path
    return [(chosen[name], files[chosen[name]]) for name in sorted(chosen)]


def winner(path: str, files: Mapping[str, str]) -> Winner | None:
    """Return what sets the key ``path`` (below /proc/sys) at boot, None if nothing does.

    A key written out beats a pattern, regardless of order; ``-key`` without a value exempts the key
    from patterns.
    """
    explicit: Winner | None = None
    by_glob: Winner | None = None
    exempt = False
    for file, text in _in_order(files):
        for key, value in _lines(text):
            if value is None:
                exempt = exempt or key == path
            elif key == path:
                explicit = Winner(value, file)
            elif _GLOB.search(key) and fnmatchcase(path, key):
                by_glob = Winner(value, file)
    if explicit is not None:
        return explicit
    return None if exempt else by_glob
