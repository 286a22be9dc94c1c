"""The files of a recipe: one folder of ``templates/images``, or several laid over each other.

In a layer over another, lists (``packages``, ``enabled``, ``masked``, ``dpkg.cfg``) are added to the lists
below, a line ``-NAME`` takes NAME away, and any other file takes the place of its namesake. The shell lines
in ``finish`` are added as well; they run at the end of the base's ``customize``.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labrun import templates
from labrun.inventory.recipes import Recipe

__all__ = ["merged_recipe", "recipe_digest", "recipe_folders", "recipe_lines"]

_LISTS = ("packages", "enabled", "masked", "dpkg.cfg")
_FINISH = "finish"


def recipe_folders(recipe: Recipe) -> tuple[Path, ...]:
    """Return the folders of a recipe's files, inside the package, the lowest first."""
    images = Path(templates.__path__[0]) / "images"
    return tuple(images / layer for layer in recipe.layers)


def recipe_lines(path: Path) -> list[str]:
    """Return the lines of one of a recipe's lists, without comments; empty if there is no such file."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def recipe_digest(suite: str, folders: tuple[Path, ...]) -> str:
    """Return the SHA-256 of a recipe: its files, names included, and the code that lays out the disk."""
    digest = hashlib.sha256(suite.encode())
    layout = Path(__file__).with_name("image_disk.py")
    sources = [
        (f"{folder.name}/{path.relative_to(folder)}", path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    for name, path in [*sources, ("layout", layout)]:
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


@contextmanager
def merged_recipe(folders: tuple[Path, ...]) -> Iterator[Path]:
    """Yield one folder with the files of all layers, for the time of a build."""
    if len(folders) == 1:
        yield folders[0]
        return
    with tempfile.TemporaryDirectory(prefix="labrun-recipe-") as name:
        merged = Path(name)
        for folder in folders:
            shutil.copytree(folder, merged, dirs_exist_ok=True)
        for file in _LISTS:
            lines: list[str] = []
            for folder in folders:
                lines = _with(lines, recipe_lines(folder / file))
            (merged / file).write_text("".join(f"{line}\n" for line in lines))
        steps = [folder / _FINISH for folder in folders if (folder / _FINISH).is_file()]
        (merged / _FINISH).write_text("".join(step.read_text() for step in steps))
        yield merged


def _with(lines: list[str], changes: list[str]) -> list[str]:
    gone = {line[1:] for line in changes if line.startswith("-")}
    return [
        *(line for line in lines if line not in gone),
        *(line for line in changes if not line.startswith("-") and line not in lines),
    ]
