"""A cache of parsed labs: parsing a lab takes longer than the actual work of most commands.

A lab depends only on its file's text and labrun's code, unless it has ``files``, whose contents lie beside
it. The result is therefore kept in the user's cache directory, named by a hash of both. It is stored as
JSON: a tampered entry can hold wrong data, but cannot run code.
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
"""The number of labs to keep; the oldest one is removed first."""
_INVENTORY: Final = Path(__file__).parents[1]
_DECISIVE: Final = ("file", "topology")
"""The folders beside the model whose code determines how a file becomes a lab."""


def remembered_lab(path: Path | str, *, stdin: TextIO | None = None, allow_outside: bool = False) -> Lab:
    """Return the result of ``load_lab`` of :mod:`labrun.inventory.file.load`, from the cache if possible.

    Raises :class:`labrun.errors.LabFileError` with every problem of the file.
    """
    source = read_source(path, stdin, allow_outside=allow_outside)
    directory = cache_directory()
    place = None if directory is None else directory / f"{_key(source)}.lab"
    lab = None if place is None else _recall(place)
    if lab is None:
        from labrun.inventory.file.load import lab_of

        lab = lab_of(source)
        reads_others = any(host.files for host in lab.hosts.values()) or any(
            image.path for image in lab.images.values()
        )
        if place is not None and not reads_others:
            with suppress(OSError):
                _keep(place, lab)
    return lab


def cache_directory() -> Path | None:
    """Return ``$XDG_CACHE_HOME/labrun/labs``, by default below ``~/.cache``.

    None if the user has no home directory, or if other users can write there: under sudo, the home may
    belong to another user, who must not decide what root's labs contain.
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
        code += [(name, status.st_size, status.st_mtime_ns) for name, status in modules]
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
