"""What has changed in a container's files since a snapshot: two views, each an upper layer on an image."""

from __future__ import annotations

import difflib
import filecmp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Change", "Layers", "changes", "is_noise"]

_OPAQUE = "trusted.overlay.opaque"
_MOST_TEXT = 64 * 1024
_MOST_LINES = 40
_NOISE = (
    *("var/log/", "var/cache/", "var/tmp/", "tmp/", "run/"),
    *("var/lib/systemd/", "var/lib/dhcp/", "var/lib/cloud/"),
)
"""What a running system writes all the time, as relative paths."""
_NOISY_FILES = ("var/lib/NetworkManager/timestamps", "var/lib/NetworkManager/seen-bssids")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs: ``kind`` is ``added``, ``removed`` or ``changed``.

    ``before`` and ``after`` are words for people; ``diff`` is that of a small text that any user of the guest
    may read, else None.
    """

    path: str
    kind: str
    before: str
    after: str
    diff: str | None = None


@dataclass(slots=True)
class Layers:
    """A container's root as an overlay shows it: ``upper`` on ``lower``, an image or layers again."""

    upper: Path
    lower: Path | Layers
    _there: dict[str, os.stat_result] = field(default_factory=dict)
    _opaque: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, upper: Path, base: str) -> Layers:
        """Return an upper layer on what an overlay's ``lowerdir`` names, from the top down, with colons."""
        *above, image = base.split(":")
        lower: Path | Layers = Path(image)
        for layer in reversed(above):
            lower = cls(Path(layer), lower)
        return cls(upper, lower)

    def scan(self) -> set[str]:
        """Read the upper layer, and return the relative paths of all that is in it. Raises OSError."""
        if isinstance(self.lower, Layers):
            self.lower.scan()
        self._walk("")
        return set(self._there)

    def _walk(self, relative: str) -> None:
        with os.scandir(self.upper / relative) as entries:
            for entry in entries:
                below = f"{relative}/{entry.name}" if relative else entry.name
                seen = entry.stat(follow_symlinks=False)
                self._there[below] = seen
                if stat.S_ISDIR(seen.st_mode):
                    if _is_opaque(entry.path):
                        self._opaque.add(below)
                    self._walk(below)

    def at(self, relative: str) -> tuple[Path, os.stat_result] | None:
        """Return where a path's content is, and its stat result; None if it is not there."""
        seen = self._there.get(relative)
        if seen is not None:
            is_whiteout = stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0
            return None if is_whiteout else (self.upper / relative, seen)
        for parent in Path(relative).parents:
            above = self._there.get(str(parent))
            if above is not None and (str(parent) in self._opaque or not stat.S_ISDIR(above.st_mode)):
                return None
        if isinstance(self.lower, Layers):
            return self.lower.at(relative)
        path = self.lower / relative
        try:
            return path, path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def changes(before: Layers, after: Layers) -> Iterator[Change]:
    """Yield what differs, by path. Raises OSError."""
    for path in sorted(before.scan() | after.scan()):
        one, other = before.at(path), after.at(path)
        if one is None and other is None:
            continue
        if one is None or other is None:
            kind = "added" if one is None else "removed"
            yield Change(path, kind, _words(one), _words(other), _text_diff(path, one, other))
        elif not _same(one, other):
            yield Change(path, "changed", _words(one), _words(other), _text_diff(path, one, other))


def is_noise(path: str) -> bool:
    """Tell whether a running system writes there all the time, whatever people do."""
    return path.startswith(_NOISE) or path in _NOISY_FILES


Place = tuple[Path, os.stat_result]


def _same(one: Place, other: Place) -> bool:
    (path, seen), (other_path, other_seen) = one, other
    owner = (seen.st_mode, seen.st_uid, seen.st_gid)
    if owner != (other_seen.st_mode, other_seen.st_uid, other_seen.st_gid):
        return False
    if stat.S_ISLNK(seen.st_mode):
        return path.readlink() == other_path.readlink()
    if not stat.S_ISREG(seen.st_mode):
        return seen.st_rdev == other_seen.st_rdev
    if path == other_path:
        return True
    if seen.st_size != other_seen.st_size:
        return False
    return seen.st_mtime_ns == other_seen.st_mtime_ns or filecmp.cmp(path, other_path, shallow=False)


def _words(place: Place | None) -> str:
    if place is None:
        return "absent"
    path, seen = place
    mode = f"{stat.S_IMODE(seen.st_mode):04o} {seen.st_uid}:{seen.st_gid}"
    if stat.S_ISLNK(seen.st_mode):
        return f"link to {path.readlink()}"
    if stat.S_ISDIR(seen.st_mode):
        return f"directory, {mode}"
    return f"{seen.st_size} bytes, {mode}" if stat.S_ISREG(seen.st_mode) else f"special file, {mode}"


def _text_diff(path: str, one: Place | None, other: Place | None) -> str | None:
    texts = [_lines(place) for place in (one, other)]
    if texts[0] is None or texts[1] is None:
        return None
    lines = list(difflib.unified_diff(texts[0], texts[1], f"{path} (snapshot)", f"{path} (now)", lineterm=""))
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"... {len(lines) - _MOST_LINES} more lines"]
    return "\n".join(lines) or None


def _lines(place: Place | None) -> list[str] | None:
    """Return the lines of a text that any user may read, none of what is absent, None for anything else."""
    if place is None:
        return []
    path, seen = place
    if not stat.S_ISREG(seen.st_mode) or seen.st_size > _MOST_TEXT or not seen.st_mode & stat.S_IROTH:
        return None
    content = path.read_bytes()
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
