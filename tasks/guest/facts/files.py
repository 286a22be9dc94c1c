"""Files in a guest: kind, mode, owner, hash, and the content if it differs from the wanted one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.errors import UnreadableError
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, quote

__all__ = ["FoundFile", "found_files", "look_at", "odd_kind"]

# Larger files are compared by hash only and never shown in a diff.
_LARGEST_SHOWN = 256 * 1024
_MODE = re.compile(r"[0-7]{1,5}")

# One stat and one sha256sum for all of them, regardless of their number.


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a guest; ``content`` is None if it is the wanted one or too large to show."""

    mode: str
    owner: str
    group: str
    digest: str
    content: bytes | None = None


def look_at(files: Sequence[tuple[str, str]]) -> str:
    """Return the script that reads files, given as path and wanted SHA-256 (hex)."""
    paths = " ".join(quote(path) for path, _ in files)
    values = assigned({"largest": _LARGEST_SHOWN}) + f"set -- {paths}\n"
    return (
        values
        + guest_script("look_at_files")
        + "".join(f"text_of {digest} {number} {quote(path)}\n" for number, (path, digest) in enumerate(files))
    )


def odd_kind(path: str, facts: Facts) -> str | None:
    """Return why a path cannot be replaced by a file; None for a regular file or a free path."""
    if f"file-link {path}" in facts.words:
        return "it is a symbolic link: name the file that it points to, or remove it"
    if f"file-other {path}" in facts.words:
        return "it is not a regular file but, say, a directory"
    return None


def found_files(paths: Sequence[str], facts: Facts) -> Mapping[str, FoundFile]:
    """Return the files that exist, by path. Raises UnreadableError."""
    digests = {}
    for line in _lines(facts, "files-hash"):
        digest, _, path = line.partition("  ")
        digests[path] = digest
    files = {}
    for line in _lines(facts, "files-stat"):
        mode, owner, group, path = (*line.split(" ", 3), "")[:4]
        if path in digests and path in paths:
            if not _MODE.fullmatch(mode):
                raise UnreadableError(f"the mode of {path} is not octal", step="stat")
            text = facts.commands.get(f"file-text-{paths.index(path)}")
            files[path] = FoundFile(f"{mode:0>4}", owner, group, digests[path], _decoded(text))
    return files


def _lines(facts: Facts, name: str) -> list[str]:
    captured = facts.commands.get(name)
    lines = captured.text.splitlines() if captured is not None else []
    return [line for line in lines if line.count(" ") >= 2]


def _decoded(captured: Captured | None) -> bytes | None:
    if captured is None or captured.status != 0:
        return None
    try:
        return base64.b64decode(captured.text.strip(), validate=True)
    except ValueError:
        # Not base64, or not even ASCII.
        return None
