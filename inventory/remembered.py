"""Labs as they were read before: reading one takes longer than most commands' own work.

A lab follows from its file's text and labrun's own code alone, unless it has ``files``, whose contents
lie beside it. So what was read is kept below the user's cache directory, named by a hash of both.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TextIO

from labrun import __version__
from labrun.inventory.model import Lab
from labrun.inventory.source import Source, read_source

if TYPE_CHECKING:
    from _typeshed import SupportsRead

__all__ = ["KEPT", "cache_directory", "remembered_lab"]

KEPT: Final = 50
"""So many labs are kept; the oldest goes first."""

_MODULES: Final = frozenset({"ipaddress", "labrun.inventory.model", __name__})
_DAMAGED = (pickle.PickleError, EOFError, ValueError, TypeError, AttributeError, LookupError, ImportError)


def remembered_lab(path: Path | str, *, stdin: TextIO | None = None) -> Lab:
    """Return what :func:`labrun.inventory.load.load_lab` returns, from an earlier time where there was one.

    Raises :class:`labrun.errors.LabFileError` with every problem of the file.
    """
    source = read_source(path, stdin)
    directory = cache_directory()
    place = None if directory is None else directory / f"{_key(source)}.lab"
    lab = None if place is None else _recall(place)
    if lab is None:
        from labrun.inventory.load import lab_of

        lab = lab_of(source)
        if place is not None and not any(host.files for host in lab.hosts.values()):
            with suppress(OSError):
                _keep(place, lab)
    return lab


def cache_directory() -> Path | None:
    """Return ``$XDG_CACHE_HOME/labrun/labs``, by default below ``~/.cache``; None for whoever has no home."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "labrun" / "labs"


def _key(source: Source) -> str:
    with os.scandir(Path(__file__).parent) as entries:
        modules = sorted((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
    code = [(name, found.st_size, found.st_mtime_ns) for name, found in modules]
    about = (__version__, sys.version, code, source.name, source.directory, source.digest)
    return hashlib.sha256(repr(about).encode("utf-8", "surrogateescape")).hexdigest()


def _recall(place: Path) -> Lab | None:
    try:
        with place.open("rb") as file:
            found = os.fstat(file.fileno())
            # With sudo the home may be somebody else's, who must not decide what root's labs are.
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
                return None
            lab = _Reader(file).load()
    except (OSError, *_DAMAGED):
        return None
    return lab if isinstance(lab, Lab) else None


def _keep(place: Path, lab: Lab) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = io.BytesIO()
    _Writer(content, pickle.HIGHEST_PROTOCOL).dump(lab)
    descriptor, temporary = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.getvalue())
        Path(temporary).replace(place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    ages = sorted((each.stat().st_mtime_ns, each) for each in place.parent.glob("*.lab"))
    for _, old in ages[:-KEPT]:
        old.unlink(missing_ok=True)


def _frozen(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(mapping)


class _Writer(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        """Write a read-only mapping as the mapping that it shows."""
        return (_frozen, (dict(thing),)) if isinstance(thing, MappingProxyType) else NotImplemented


class _Reader(pickle.Unpickler):
    def __init__(self, file: SupportsRead[bytes]):
        super().__init__(file)  # type: ignore[arg-type]

    def find_class(self, module: str, name: str) -> Any:
        """Accept what labs are made of, and nothing else."""
        if module not in _MODULES:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a lab")
        return super().find_class(module, name)
