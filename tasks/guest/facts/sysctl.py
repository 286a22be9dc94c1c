"""Which sysctl.d file sets a key at boot, as systemd-sysctl reads them (sysctl.d(5))."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.errors import UnreadableError
from labrun.inventory.kernel_spelling import as_kernel_writes
from labrun.inventory.kernel_values import keys_of

__all__ = ["DIRECTORIES", "Winner", "set_along", "settings_of", "winner"]

DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
"""In order of precedence: a file hides those of the same name in later directories."""

_GLOB = re.compile(r"[*?\[]")
# More than any real settings file has; a guest may hold more, and each pattern gets compiled.
_MOST_PATTERNS, _LONGEST_KEY = 1_000, 400
_SETS = 32


# Whatever is written for `all`, the kernel writes for every NIC and for `default` too.
_OF_A_NIC = re.compile(r"(net/ipv[46]/conf/)[^/]+(/[a-z0-9_]+)")
_FOR_ALL = frozenset(
    {
        "net/ipv4/conf/all/forwarding",
        "net/ipv6/conf/all/addr_gen_mode",
        "net/ipv6/conf/all/disable_ipv6",
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/conf/all/ignore_routes_with_linkdown",
    }
)


@dataclass(frozen=True, slots=True)
class Winner:
    """The value that a boot sets, the file it stands in, and the key (a path) that it stands under there."""

    value: str
    file: str
    key: str = field(default="", compare=False)


def _normal(key: str) -> str:
    separator = re.search(r"[./]", key)
    if separator is not None and separator.group() == ".":
        return key.translate(str.maketrans("./", "/."))
    return key


# Every wanted key is looked up in all files.
@lru_cache(maxsize=64)
def _lines(text: str) -> tuple[tuple[str, str | None], ...]:
    require_lines(text, "sysctl.d", SETTINGS_LINES)
    settings = tuple(_settings(text))
    if sum(_GLOB.search(key) is not None for key, _ in settings) > _MOST_PATTERNS:
        raise UnreadableError(f"more than {_MOST_PATTERNS} patterns", step="sysctl.d")
    return settings


def _settings(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield ``key = value``, ``key`` alone (None) only where a dash before it exempts it from patterns."""
    for line in text.splitlines():
        bare = line.strip()
        name, sign, value = bare.removeprefix("-").partition("=")
        key = name.strip()
        if not key or key[0] in "#;" or len(key) > _LONGEST_KEY:
            continue
        if sign or bare.startswith("-"):
            path = _normal(key)
            yield path, as_kernel_writes(path, value.strip()) if sign else None


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


def set_along(path: str) -> frozenset[str]:
    """Return the other keys whose writing sets the key ``path`` too, all of them below /proc/sys."""
    paths = {path}
    part = _OF_A_NIC.fullmatch(path)
    if part is not None and (for_all := f"{part[1]}all{part[2]}") in _FOR_ALL:
        paths.add(for_all)
    return frozenset().union(*(keys_of(other) for other in paths)) - {path}


def winner(path: str, files: Mapping[str, str]) -> Winner | None:
    """Return what sets the key ``path`` (below /proc/sys) at boot, None if nothing does.

    A key written out beats a pattern, regardless of order; ``-key`` without a value exempts the key
    from patterns. Of several keys that set the same value, the one that is set last counts: a key that
    is given again moves to the end, unless its value is the same.
    """
    given, exempt = _given(tuple(_in_order(files)))
    last: Winner | None = None
    keys = {path, *set_along(path)}
    for key, each in given.items():
        if key in keys or (_GLOB.search(key) and any(_sets(key, one, given, exempt) for one in keys)):
            last = each
    return last


@lru_cache(maxsize=_SETS)
def _given(files: tuple[tuple[str, str], ...]) -> tuple[Mapping[str, Winner], frozenset[str]]:
    """Return what the files set, in the order in which it counts, and what they exempt from patterns.

    All keys of a host are looked up in the same files, and many hosts have the same.
    """
    given: dict[str, Winner] = {}
    exempt = set()
    for file, text in files:
        for key, value in _lines(text):
            if value is None:
                exempt.add(key)
            elif key not in given or given[key].value != value:
                given.pop(key, None)
                given[key] = Winner(value, file, key)
    return MappingProxyType(given), frozenset(exempt)


def _sets(pattern: str, key: str, given: Mapping[str, Winner], exempt: Collection[str]) -> bool:
    return key not in given and key not in exempt and fnmatchcase(key, pattern)
