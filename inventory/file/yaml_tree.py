"""Turn YAML into a tree with line numbers, from the parser's events.

Events rather than PyYAML's composer: nesting, aliases and size can be limited as they arrive, duplicate
keys are detected, and recursion depth does not depend on the file. Scalars follow YAML's 1.2 core rules
where 1.1 is surprising: ``010``, ``1_000``, ``0x10``, ``12:30`` and dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from labrun.errors import LabFileError, Problem
from labrun.inventory.file.problems import Path, Report, quoted, spelled
from labrun.inventory.file.source import Source
from labrun.inventory.file.synonyms import missing_space

__all__ = ["Node", "Plain", "is_in", "line_in", "parse_tree", "plain"]

Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]
Scalar = None | bool | int | str

DEEPEST: Final = 40
MOST_NODES: Final = 250_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_WORDS: Final[dict[str, Scalar]] = {
    **{form: True for word in ("true", "yes", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.title(), word.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = "<<"


@dataclass(slots=True)
class Node:
    """One value with the line it starts on; ``size`` and ``depth`` count aliases as if written out."""

    value: Scalar | list[Node] | dict[str, Node]
    line: int
    size: int = 1
    depth: int = 1
    key_lines: dict[str, int] = field(default_factory=dict)
    written: str | None = None


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still being read."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    merged: list[Node] = field(default_factory=list)


def parse_tree(source: Source, known_keys: Callable[[Path], Collection[str]]) -> tuple[Node, Report]:
    """Return the tree and a report of tolerable problems (duplicate keys, names that are not text).

    ``known_keys`` gives the fixed keys of a place: YAML reads ``on`` as true, although it is a key here.
    Raises :class:`labrun.errors.LabFileError` if the rest would make no sense.
    """
    builder = _Builder(source)
    loader = _LOADER(source.text)
    try:
        root = builder.read(_events(loader))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(source, error) from None
    finally:
        loader.dispose()
    report = Report(source.name, lambda path: line_in(root, path), lambda path: is_in(root, path))
    for path, what, hint, line in builder.twice:
        report.add(path, what, hint, line=line)
    for path, what, hint, line in builder.misread:
        if path[-1] not in known_keys(path[:-1]):
            report.add(path, what, hint, line=line)
    return root, report


def line_in(root: Node, path: Path) -> int:
    """Return the line of a key or value, or of the nearest parent if the path ends early."""
    node, line = root, root.line
    for part in path:
        if isinstance(node.value, dict) and (name := _key_like(node.value, part)) is not None:
            line, node = node.key_lines[name], node.value[name]
            if not isinstance(node.value, (dict, list)):
                line = max(line, node.line)
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.line
        else:
            break
    return line


def is_in(root: Node, path: Path) -> bool:
    """Tell whether the file has a value at this path."""
    node = root
    for part in path:
        if isinstance(node.value, dict) and (name := _key_like(node.value, part)) is not None:
            node = node.value[name]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return False
    return True


def _key_like(mapping: dict[str, Node], part: str | int) -> str | None:
    """Return the key as written: sshd's keywords are in lower case at this point."""
    if not isinstance(part, str):
        return None
    return part if part in mapping else next((key for key in mapping if key.lower() == part), None)


def plain(node: Node) -> Plain:
    """Return the tree as new dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def _events(loader: Any) -> Iterator[Any]:
    while loader.check_event():
        yield loader.get_event()


class _Builder:
    """Read events into nodes, with limits."""

    def __init__(self, source: Source):
        self.source = source
        self.twice: list[tuple[Path, str, str, int]] = []
        self.misread: list[tuple[Path, str, str, int]] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._open_anchors: set[str] = set()
        self._root: Node | None = None
        self._documents = 0

    def read(self, events: Iterator[Any]) -> Node:
        last = len(self.source.text.splitlines()) or 1
        for event in events:  # the parser places an empty value at the end after the last line
            self._take(event, min(event.start_mark.line + 1, last))
        if self._root is None or (self._root.value is None and not self._root.written):
            raise self._refused(1, "the file is empty", "a lab file begins with name:")
        return self._root

    def _take(self, event: Any, line: int) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._attach(self._scalar(event, line), event.anchor)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refused(line, "the file holds several YAML documents", "one lab, one document")

    def _open(self, event: Any, line: int) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            raise self._refused(line, f"the YAML tag {quoted(event.tag)} is not allowed")
        if len(self._stack) >= DEEPEST:
            raise self._refused(line, f"values are nested more than {DEEPEST} levels deep")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.node.value, dict) and top.key is None:
            raise self._refused(line, "a key is a list or a mapping", "keys must be plain names")
        self._stack.append(_Frame(Node({} if mapping else [], line), event.anchor))
        if event.anchor:
            self._open_anchors.add(event.anchor)

    def _close(self) -> None:
        frame = self._stack.pop()
        self._merge(frame)
        if frame.anchor:
            self._open_anchors.discard(frame.anchor)
        self._attach(frame.node, frame.anchor)

    def _alias(self, name: str, line: int) -> None:
        if name in self._open_anchors:
            raise self._refused(line, f"the alias *{name} is inside the value that it refers to")
        if name not in self._anchors:
            raise self._refused(line, f"no anchor &{name} comes before the alias *{name}")
        self._attach(self._anchors[name], None, line)

    def _attach(self, node: Node, anchor: str | None, line: int | None = None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        into = frame.node
        if isinstance(into.value, dict) and frame.key is None:
            frame.key, frame.key_line = self._key(node), line or node.line
            return
        into.size += node.size
        into.depth = max(into.depth, node.depth + 1)
        if into.size > MOST_NODES:
            raise self._refused(
                line or node.line, f"the aliases up to here expand to more than {MOST_NODES} values"
            )
        if len(self._stack) + node.depth > DEEPEST:
            raise self._refused(line or node.line, f"values are nested more than {DEEPEST} levels deep")
        if isinstance(into.value, list):
            into.value.append(node)
        elif isinstance(into.value, dict) and frame.key is not None:
            self._store(frame, into.value, node)

    def _store(self, frame: _Frame, into: dict[str, Node], node: Node) -> None:
        key = frame.key or ""
        if key == _MERGE:
            frame.merged.append(node)
        elif key in into:
            first = frame.node.key_lines[key]
            self.twice.append((self._path(), "duplicate key", f"first in line {first}", frame.key_line))
        else:
            into[key] = node
            frame.node.key_lines[key] = frame.key_line
        frame.key = None

    def _merge(self, frame: _Frame) -> None:
        into = frame.node.value
        for source in frame.merged:
            for node in source.value if isinstance(source.value, list) else [source]:
                if not isinstance(node.value, dict) or not isinstance(into, dict):
                    raise self._refused(node.line, "<< takes a mapping or a list of mappings")
                for key, child in node.value.items():
                    if key not in into:
                        into[key] = child
                        frame.node.key_lines[key] = node.key_lines[key]

    def _key(self, node: Node) -> str:
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, (list, dict)):
            raise self._refused(node.line, "a key is a list or a mapping", "keys must be plain names")
        written = node.written or ""
        read_as = {bool: "true or false", int: "a number"}.get(type(node.value), "nothing")
        self.misread.append((
            (*self._path(), written),
            f"YAML reads the name {written or '(empty)'} as {read_as}",
            f'put it in quotes: "{written}"' if written else "give it a name",
            node.line,
        ))  # fmt: skip
        return written

    def _scalar(self, event: Any, line: int) -> Node:
        text, tag = event.value, event.tag
        if tag in (None, "!"):
            value = _resolved(text) if event.implicit[0] and tag is None else text
            return Node(value, line, written=text)
        if tag == _TAG + "str":
            return Node(text, line, written=text)
        value = _resolved(text)
        kind = {bool: "bool", int: "int"}.get(type(value), "null" if value is None else "")
        if not kind or tag != _TAG + kind:
            raise self._refused(line, f"the YAML tag {quoted(tag)} is not allowed")
        return Node(value, line, written=text)

    def _path(self) -> Path:
        parts: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.node.value, list):
                parts.append(len(frame.node.value))
            elif frame.key is not None:
                parts.append(frame.key)
        return tuple(parts)

    def _refused(self, line: int, what: str, hint: str | None = None) -> LabFileError:
        return LabFileError(self.source.name, (Problem(line, spelled(self._path()), what, hint),))


def _resolved(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _without_space(lines: list[str], line: int) -> int | None:
    """Return the number of the line ``key:value`` that ends before this one, None if there is none."""
    above = (number for number in range(line - 1, 0, -1) if lines[number - 1].strip())
    number = next(above, None)
    return number if number is not None and missing_space(lines[number - 1]) else None


def _syntax_error(source: Source, error: yaml.MarkedYAMLError) -> LabFileError:
    lines = source.text.splitlines() or [""]
    mark, opened, context = error.problem_mark or error.context_mark, error.context_mark, error.context or ""
    line = min(mark.line, len(lines) - 1) + 1 if mark is not None else 1
    text = lines[line - 1]
    at_end = mark is not None and not "".join(lines[mark.line :])[mark.column :].strip()
    indent = text[: len(text) - len(text.lstrip())]
    what, hint = f"this is not valid YAML: {error.problem or context}", None
    if opened is not None and "quoted scalar" in context:
        line, what = opened.line + 1, "a quote is not closed"
    elif opened is not None and "flow" in context and at_end:
        line, what = opened.line + 1, "a bracket is not closed"
    elif "\t" in indent or (mark is not None and text[mark.column : mark.column + 1] == "\t"):
        what, hint = "a tab is used where YAML wants spaces", "indent with spaces"
    elif "mapping values are not allowed" in what and (slip := _without_space(lines, line)):
        line, what, hint = slip, "this is not valid YAML", missing_space(lines[slip - 1])
    elif "mapping values are not allowed" in what:
        what = "this is not valid YAML: a colon starts a mapping where none is allowed"
        hint = "the indentation is wrong, or a value with a colon needs quotes"
    elif "<document start>" in what:
        what = "YAML sees the end of the file here, but more follows"
        hint = "is this line indented less than the first?"
    elif re.search(r": +[>|]\S", text) and "comment or" in what:
        what = "this is not valid YAML: > and | begin a text of several lines here"
        hint = "put a value that begins with one of them in quotes"
    elif wanted := re.search(r"expected (',' or '[\]}]')", what):  # libyaml and PyYAML word it differently
        what = f"this is not valid YAML: {wanted[1]} is expected here"
    return LabFileError(source.name, (Problem(min(line, len(lines)), "", what, hint),))
