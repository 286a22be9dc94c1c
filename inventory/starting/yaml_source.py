"""Look into the YAML of other tools: trees with line numbers, where anything may be of any type."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.inventory.file.source import Source
from labrun.inventory.file.yaml_tree import Node, parse_tree

__all__ = ["at", "members", "read_tree", "text_of", "texts_of"]


def read_tree(source: Source) -> Node:
    """Return the tree of a YAML file. Raises LabFileError for what no safe reader takes.

    A key that is there twice counts once: what other tools make of it is unknown.
    """
    root, _ = parse_tree(source, lambda _path: ())
    return root


def at(node: Node | None, *keys: str) -> Node | None:
    """Return the value below these keys, None where there is none; `a.b` as one key counts, too."""
    if not keys or node is None:
        return node
    if not isinstance(node.value, dict):
        return None
    for length in range(len(keys), 0, -1):
        key = ".".join(keys[:length])
        if key in node.value and (found := at(node.value[key], *keys[length:])) is not None:
            return found
    return None


def members(node: Node | None) -> Iterator[tuple[str, Node, int]]:
    """Yield key, value and the key's line of a mapping; nothing for anything else."""
    if node is not None and isinstance(node.value, dict):
        for key, value in node.value.items():
            yield key, value, node.key_lines.get(key, value.line)


def text_of(node: Node | None) -> str | None:
    """Return a scalar as text, None for what is no scalar or empty."""
    if node is None or isinstance(node.value, dict | list) or node.value is None:
        return None
    return node.written if node.written is not None else str(node.value)


def texts_of(node: Node | None) -> list[tuple[str, int]]:
    """Return the scalars of a list, or the one that stands for a list, each with its line."""
    if node is None:
        return []
    nodes = node.value if isinstance(node.value, list) else [node]
    return [(text, each.line) for each in nodes if (text := text_of(each)) is not None]
