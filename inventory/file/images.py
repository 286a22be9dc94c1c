"""The file's images: where each comes from, and that it is where a lab file may read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from labrun.inventory.file.problems import Report, quoted
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.source import Source
from labrun.inventory.model import Image

__all__ = ["build_images"]

_LONGEST: Final = 63
"""Characters of an image's name in the store: the lab's name, a dot, and its name here."""


def build_images(file: LabFile, source: Source, report: Report) -> Mapping[str, Image]:
    """Return the images by name, paths absolute; whether a file is there is seen when it is needed."""
    images = {}
    for name, model in file.images.items():
        path = None if model.path is None else _resolved(name, model.path, source, report)
        if model.build is None and len(file.name) + 1 + len(name) > _LONGEST:
            most = _LONGEST - 1 - len(file.name)
            report.add(("images", name), f"the name is too long beside the lab's: at most {most} characters")
        sha256 = model.sha256.lower() if model.sha256 else None
        images[name] = Image(name, url=model.url, sha256=sha256, path=path, build=model.build)
    return MappingProxyType(images)


def _resolved(name: str, path: str, source: Source, report: Report) -> str:
    try:
        folder = Path(source.directory).resolve()
        file = (folder / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        report.add(("images", name, "path"), f"{quoted(path)} cannot be read: {reason}")
        return path
    if not (source.allow_outside or file.is_relative_to(folder)):
        # It would become the disk of a machine that belongs to the lab's author.
        report.add(
            ("images", name, "path"),
            f"{quoted(path)} is outside the lab file's folder",
            "--allow-outside lets it be read",
        )
    return str(file)
