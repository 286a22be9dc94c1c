"""systemd's network files: read, write, and tell which NICs one is for.

Format: systemd.network(5) and systemd.syntax(7). A section may occur several times, and a key in it, so a
file is a list of entries in the order in which it has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from labrun.bounded import SETTINGS_LINES, require_lines

__all__ = ["Entry", "entries", "in_order", "is_for", "listed", "rendered"]

# Of files with one name that in the first of these folders counts.
_FOLDERS = (
    "/etc/systemd/network/",
    "/run/systemd/network/",
    "/usr/local/lib/systemd/network/",
    "/usr/lib/systemd/network/",
    "/lib/systemd/network/",
)


class Entry(NamedTuple):
    """One setting; ``block`` numbers the sections of a file."""

    block: int
    section: str
    key: str
    value: str


def entries(text: str) -> tuple[Entry, ...]:
    """Return the settings of a file; what is no setting is skipped. UnreadableError for a huge file."""
    require_lines(text, "network file", SETTINGS_LINES)
    found = []
    block, section = 0, ""
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            block, section = block + 1, line[1:-1]
        elif section and "=" in line:
            key, _, value = line.partition("=")
            found.append(Entry(block, section, key.rstrip(), value.lstrip()))
    return tuple(found)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines without comments; a backslash at the end joins a line with the next."""
    begun = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            begun += f"{line[:-1].rstrip()} "
            continue
        yield f"{begun}{line}".strip()
        begun = ""
    if begun:
        yield begun.strip()


def rendered(sections: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    """Return the text of a file; sections without settings are left out."""
    blocks = []
    for name, settings in sections:
        lines = "".join(f"{key}={value}\n" for key, value in settings)
        if lines:
            blocks.append(f"[{name}]\n{lines}")
    return "\n".join(blocks)


def listed(text: str) -> list[str]:
    """Return the settings of a file, one line each, without comments and spaces.

    The lines of the sections of one name are told apart by their order alone.
    """
    return [f"[{each.section}] {each.key}={each.value}" for each in entries(text)]


def in_order(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return path and text of the files that count, in the order in which systemd-networkd tries them."""
    by_name: dict[str, str] = {}
    for folder in reversed(_FOLDERS):
        for path in files:
            name = path.removeprefix(folder)
            if path.startswith(folder) and "/" not in name and name.endswith(".network"):
                by_name[name] = path
    return [(by_name[name], files[by_name[name]]) for name in sorted(by_name)]


def is_for(text: str, interface: str, mac: str) -> bool:
    """Tell whether a file certainly is for this Ethernet NIC; one that demands anything else may not be."""
    return bool(text.strip()) and all(
        _fits(each, interface, mac) for each in entries(text) if each.section == "Match" and each.value
    )


def _fits(condition: Entry, interface: str, mac: str) -> bool:
    wanted = condition.value.split()
    if condition.key in ("MACAddress", "PermanentMACAddress"):
        return mac in (each.lower().replace("-", ":") for each in wanted)
    if condition.key in ("Name", "Type"):
        have = interface if condition.key == "Name" else "ether"
        excluded = wanted[0].startswith("!")
        patterns = [wanted[0].removeprefix("!"), *wanted[1:]]
        return excluded != any(fnmatchcase(have, pattern) for pattern in patterns)
    return False
