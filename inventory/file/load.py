"""Read a lab file into the model, or report everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from labrun.errors import LabFileError
from labrun.inventory.file.build import build_lab
from labrun.inventory.file.jsonschema import json_schema, known_keys
from labrun.inventory.file.required_version import require_this_version
from labrun.inventory.file.source import Source, read_source
from labrun.inventory.file.validate import read_shape
from labrun.inventory.file.yaml_tree import parse_tree
from labrun.inventory.model import Lab

__all__ = ["json_schema", "lab_of", "load_lab"]


def load_lab(path: Path | str, *, stdin: TextIO | None = None, allow_outside: bool = False) -> Lab:
    """Return the lab that a file describes; ``-`` reads standard input.

    ``allow_outside`` lets its ``files`` be read from anywhere, not only from below its folder.

    Raises :class:`labrun.errors.LabFileError` with every problem of the file.
    """
    return lab_of(read_source(path, stdin, allow_outside=allow_outside))


def lab_of(source: Source) -> Lab:
    """Return the lab that a file's text describes; raises like :func:`load_lab`."""
    try:
        root, report = parse_tree(source, known_keys)
        require_this_version(root, report)
        file, cut = read_shape(root, report)
        lab = build_lab(file, cut, source, report)
        report.raise_if_any()
    except LabFileError as error:
        error.text = source.text
        raise
    return lab
