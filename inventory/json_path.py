"""A small language for pointing into JSON: keys, positions and selection by one key's value; no eval.

``routes[0].gateway``, ``[ifname=eth0].mtu``, ``["a key"].x``, ``[-1]``; a leading ``$`` or ``.`` is
allowed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Step", "as_text", "look_up", "parse_path"]

_STEP = re.compile(
    r"""\.?(?P<key>[A-Za-z_][\w-]*)
      | \[(?P<place>-?\d{1,9})\]
      | \["(?P<quoted>[^"\]]*)"\]
      | \[(?P<by>[A-Za-z_][\w-]*)=(?P<value>[^\]]*)\]""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: into a mapping by ``key``, or into a list by ``place`` or by ``by`` being ``value``."""

    key: str | None = None
    place: int | None = None
    by: str | None = None
    value: str = ""

    def __str__(self) -> str:
        if self.key is not None:
            return f'"{self.key}"'
        return f"[{self.place}]" if self.by is None else f"[{self.by}={self.value}]"


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a path, none for ``$``. Raises ValueError that locates the syntax error."""
    rest = text.strip().removeprefix("$")
    steps = []
    while rest not in ("", "."):
        match = _STEP.match(rest)
        if match is None:
            raise ValueError(f"{rest[:20]!r} is not a valid step")
        key = match["key"] if match["key"] is not None else match["quoted"]
        place = None if match["place"] is None else int(match["place"])
        steps.append(Step(key, place, match["by"], match["value"] or ""))
        rest = rest[match.end() :]
    return tuple(steps)


def look_up(document: Any, path: str) -> Any:
    """Return the value at the path. Raises LookupError that names the first step that fails."""
    value = document
    for step in parse_path(path):
        try:
            value = _step(value, step)
        except (LookupError, TypeError):
            raise LookupError(f"there is no {step}") from None
    return value


def _step(value: Any, step: Step) -> Any:
    if step.key is not None:
        if not isinstance(value, dict):
            raise LookupError
        return value[step.key]
    if not isinstance(value, list):
        raise LookupError
    if step.place is not None:
        return value[step.place]
    for element in value:
        if isinstance(element, dict) and step.by in element and as_text(element[step.by]) == step.value:
            return element
    raise LookupError


def as_text(value: Any) -> str:
    """Return a value in the form used for comparison: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
