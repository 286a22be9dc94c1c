"""Labs as they were read before: reading one takes longer than most commands' own work.

A lab follows from its file's text and labrun's own code alone, unless it has ``files``, whose contents
lie beside it. So what was read is kept below the user's cache directory, named by a hash of both: as JSON,
which can say what is wrong, but cannot do anything.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from labrun import __version__
from labrun.inventory.file.lab_json import lab_from_json, lab_to_json
from labrun.inventory.file.source import Source, read_source
from labrun.inventory.model import Lab
from labrun.state_files import WRONG, DamagedFileError, read_file
from labrun.state_folders import distrust, xdg_base

__all__ = ["KEPT", "cache_directory", "remembered_lab"]

KEPT: Final = 50
"""So many labs are kept; the oldest goes first."""
_INVENTORY: Final = Path(__file__).parents[1]
_DECISIVE: Final = ("file", "topology")
"""The folders beside the model that decide what a file's lab is."""


def remembered_lab(path: Path | str, *, stdin: TextIO | None = None, allow_outside: bool = False) -> Lab:
    """Return what ``load_lab`` of :mod:`labrun.inventory.file.load` returns, from an earlier time if it can.

    Raises :class:`labrun.errors.LabFileError` with every problem of the file.
    """
    source = read_source(path, stdin, allow_outside=allow_outside)
    directory = cache_directory()
    place = None if directory is None else directory / f"{_key(source)}.lab"
    lab = None if place is None else _recall(place)
    if lab is None:
        from labrun.inventory.file.load import lab_of

        lab = lab_of(source)
        if place is not None and not any(host.files for host in lab.hosts.values()):
            with suppress(OSError):
                _keep(place, lab)
    return lab


def cache_directory() -> Path | None:
    """Return ``$XDG_CACHE_HOME/labrun/labs``, by default below ``~/.cache``.

    None for whoever has no home, and where others could put something there: with sudo the home may be
    somebody else's, who must not decide what root's labs are.
    """
    try:
        folder = xdg_base("XDG_CACHE_HOME", ".cache") / "labrun" / "labs"
        return folder if distrust(folder) is None else None
    except (RuntimeError, OSError):
        return None


def _key(source: Source) -> str:
    code = []
    for folder in (_INVENTORY, *(_INVENTORY / name for name in _DECISIVE)):
        with os.scandir(folder) as entries:
            modules = sorted((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
        code += [(name, found.st_size, found.st_mtime_ns) for name, found in modules]
    about = (__version__, sys.version, code, source.name, source.directory, source.digest)
    return hashlib.sha256(repr(about).encode("utf-8", "surrogateescape")).hexdigest()


def _recall(place: Path) -> Lab | None:
    try:
        data = read_file(place) or b""
        digest, _, text = data.partition(b"\n")
        if digest != _digest(text):
            return None
        return lab_from_json(text)
    except (DamagedFileError, *WRONG):
        return None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode("ascii")


def _keep(place: Path, lab: Lab) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = lab_to_json(lab).encode("ascii")
    descriptor, temporary = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_digest(text) + b"\n" + text)
        Path(temporary).replace(place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    ages = sorted((each.lstat().st_mtime_ns, each) for each in place.parent.glob("*.lab"))
    for _, old in ages[:-KEPT]:
        old.unlink(missing_ok=True)
