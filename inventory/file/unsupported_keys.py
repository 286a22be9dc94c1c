"""Name the keys that a lab file may have but this release does not act on yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from labrun.inventory.file.problems import Path, spelled
from labrun.inventory.model import Notice

if TYPE_CHECKING:
    from labrun.inventory.file.yaml_tree import Node

__all__ = ["find_notices"]

_SETTINGS: Final = frozenset({"disks"})


def find_notices(root: Node) -> tuple[Notice, ...]:
    """Return a notice for each unsupported key, at its first place."""
    from labrun.inventory.file.yaml_tree import line_in

    notices: list[Notice] = []
    named: set[str] = set()
    for path in _places(root):
        what = str(path[-1])
        if what not in named:
            notices.append(Notice(line_in(root, path), spelled(path)))
        named.add(what)
    return tuple(sorted(notices))


def _places(root: Node) -> Iterator[Path]:
    yield from _settings(root, ("defaults",))
    for section in ("groups", "hosts"):
        for name in _keys(root, (section,)):
            yield from _settings(root, (section, name))


def _settings(root: Node, path: Path) -> Iterator[Path]:
    for key in _keys(root, path):
        if key in _SETTINGS:
            yield (*path, key)


def _keys(root: Node, path: Path) -> tuple[str, ...]:
    node = root
    for part in path:
        if not isinstance(node.value, dict) or part not in node.value:
            return ()
        node = node.value[str(part)]
    return tuple(node.value) if isinstance(node.value, dict) else ()
