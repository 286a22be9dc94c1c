"""Validate a lab file's tree against the models: report all errors of form and keep the rest usable.

Invalid parts are cut out and recorded, so that the later checks (subnets, references) still run on the
valid rest and do not report the cut parts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from labrun.inventory.file.jsonschema import home_of_key, known_keys
from labrun.inventory.file.problems import MOST_GUESSES, Path, Report, closest, did_you_mean, shown
from labrun.inventory.file.pydantic_types import OWN_ERROR
from labrun.inventory.file.schema import LabFile
from labrun.inventory.file.synonyms import example_of, missing_space, said_by_labrun, synonym
from labrun.inventory.file.yaml_tree import Node, plain

__all__ = ["Dropped", "read_shape"]

_NAMED: Final = ("networks", "hosts", "groups", "images", "filters", "hypervisors")
# If one of these keys is wrong, the rest of the host or group would change its meaning, so all of it is
# dropped. In sections not listed here, an entry is always dropped as a whole.
_WHOLE: Final = {"hosts": ("networks", "address"), "groups": ("hosts",)}
_UNITS: Final = {"memory": "MiB as a number, such as 512", "disk": "GiB as a number, such as 10"}
_PAIRS: Final = "`key: value` pairs"
_ROUNDS: Final = 4


@dataclass(slots=True)
class Dropped:
    """The dropped parts: names by section, and whole sections."""

    names: dict[str, set[str]] = field(default_factory=dict)
    sections: set[str] = field(default_factory=set)

    def has(self, section: str, name: str) -> bool:
        """Tell whether a name that is missing now was in the file."""
        return section in self.sections or name in self.names.get(section, ())


def read_shape(root: Node, report: Report) -> tuple[LabFile, Dropped]:
    """Return the file as models, without the parts that are reported as wrong."""
    data, cut = plain(root), Dropped()
    if not isinstance(data, dict):
        what = "a lab file has the keys name, networks, hosts, ..."
        report.add((), what, missing_space(root.written))
        report.raise_if_any()
        data = {}
    for path in _nulls(data, ()):
        report.add(path, "this has no value", "give it one or remove the key")
        _cut_out(data, path, cut)
    for round_ in range(_ROUNDS):
        try:
            return LabFile.model_validate(data), cut
        except ValidationError as error:
            faults = [(fault, _existing(data, fault["loc"])) for fault in error.errors(include_url=False)]
            meant = _meant_keys(data, faults)
            for fault, path in faults:
                missing = fault["type"] == "missing"
                if not missing or (round_ == 0 and (*path, fault["loc"][-1]) not in meant):
                    _say(fault, path, report)
            for fault, path in faults:
                if fault["type"] == "extra_forbidden":
                    _remove(data, path)
            for fault, path in faults:
                if fault["type"] != "extra_forbidden":
                    _cut_out(data, (*path, fault["loc"][-1]) if fault["type"] == "missing" else path, cut)
            for path in meant:
                _cut_out(data, path, cut)
    report.raise_if_any()
    raise AssertionError("the models refuse what was cut down to nothing")


def _nulls(value: Any, path: Path) -> list[Path]:
    if value is None:
        return [path]
    children: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [found for key, child in children for found in _nulls(child, (*path, key))]


def _existing(data: Any, loc: tuple[int | str, ...]) -> Path:
    """Return the part of pydantic's location that exists in the file, without its tags of alternatives."""
    path: list[str | int] = []
    here: Any = data
    for part in loc:
        below = here if isinstance(here, dict) else dict(enumerate(here)) if isinstance(here, list) else {}
        if part in below:
            path.append(part)
            here = below[part]
    return tuple(path)


def _meant_keys(data: dict[str, Any], faults: Sequence[tuple[Any, Path]]) -> set[Path]:
    """Return the paths of the keys that misspelt ones stand for; of many, only the first are tried."""
    misspelt = ((fault, path) for fault, path in faults if fault["type"] == "extra_forbidden")
    tried = (_meant(data, fault, path) for fault, path in islice(misspelt, MOST_GUESSES))
    return {path for path in tried if path}


def _meant(data: dict[str, Any], fault: Any, path: Path) -> Path | None:
    """Return the path of the key that a misspelt one stands for, so that it is not reported as missing."""
    here: Any = data
    for part in path[:-1]:
        here = here[part]
    known = [key for key in known_keys(path[:-1]) if key not in here]
    name = synonym(str(path[-1]), known)
    if name is None and home_of_key(str(path[-1]), path[:-1]):
        return None
    name = name or closest(str(path[-1]), known)
    return (*path[:-1], name) if name else None


def _cut_out(data: dict[str, Any], path: Path, cut: Dropped) -> None:
    """Remove the smallest part whose removal does not change the meaning of the rest."""
    top = str(path[0]) if path else ""
    section = data.get(top)
    if top == "defaults" and len(path) >= 2 and isinstance(section, dict):
        section.pop(path[1], None)
    elif top in _NAMED and len(path) >= 2 and isinstance(section, dict):
        name, entry = str(path[1]), section.get(path[1])
        if len(path) >= 3 and isinstance(entry, dict) and path[2] not in _WHOLE.get(top, (path[2],)):
            entry.pop(path[2], None)
        else:
            section.pop(name, None)
            cut.names.setdefault(top, set()).add(name)
    else:
        data.pop(top, None)
        cut.sections.add(top)
        if top == "name":
            data["name"] = "lab"
        elif top == "hosts":
            data["hosts"] = {}


def _remove(data: Any, path: Path) -> None:
    """Remove one key and keep its siblings."""
    for part in path[:-1]:
        data = data[part]
    data.pop(path[-1], None)


def _say(fault: Any, path: Path, report: Report) -> None:
    kind, loc, value = fault["type"], fault["loc"], fault.get("input")
    context: dict[str, Any] = fault.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(loc[-1])
        home = home_of_key(key, path[:-1])
        known = known_keys(path[:-1])
        if word := synonym(key, known):
            report.add(path, "unknown key", said_by_labrun(word))
        else:
            report.add(path, "unknown key", f"it belongs to {home}" if home else report.guess(key, known))
    elif kind == "missing":
        report.add((*path, str(loc[-1])), "this key is missing", line=report.line_of(path))
    elif kind == OWN_ERROR:
        report.add(path, context["what"], context.get("hint"))
    elif kind in ("literal_error", "enum"):
        report.add(path, *_not_one_of(context["expected"], value))
    else:
        report.add(path, *_of_type(kind, context, value, path, fault["msg"]))


def _not_one_of(expected: str, value: Any) -> tuple[str, str | None]:
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return f"{shown(value)} is not {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}", did_you_mean(
        value, choices
    ) if isinstance(value, str) else None


def _of_type(
    kind: str, context: dict[str, Any], value: Any, path: Path, message: str
) -> tuple[str, str | None]:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    wanted = {
        "string_type": "text",
        "int_type": "a whole number",
        "bool_type": "true or false",
        "dict_type": _PAIRS,
        "model_type": _PAIRS,
        "model_attributes_type": _PAIRS,
        "list_type": "a list",
    }.get(kind)
    if wanted == _PAIRS:
        example = example_of(path)
        hint = missing_space(value) or (f"such as {example}" if example else None)
        return f"expected {wanted}, got {shown(value)}", hint
    if wanted:
        return f"expected {wanted}, got {shown(value)}", _UNITS.get(key) if kind == "int_type" else None
    if kind == "greater_than_equal":
        return f"{value} is too small, the minimum is {context['ge']}", _UNITS.get(key)
    if kind == "less_than_equal":
        return f"{value} is too large, the maximum is {context['le']}", _UNITS.get(key)
    if kind in ("too_short", "too_long"):
        wanted_length = context.get("min_length", context.get("max_length"))
        return f"expected {wanted_length} values, got {context['actual_length']}", None
    return message[:1].lower() + message[1:], None
