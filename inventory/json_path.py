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
        found = _STEP.match(rest)
        if found is None:
            raise ValueError(f"{rest[:20]!r} is no step")
        key = found["key"] if found["key"] is not None else found["quoted"]
        place = None if found["place"] is None else int(found["place"])
        steps.append(Step(key, place, found["by"], found["value"] or ""))
        rest = rest[found.end() :]
    return tuple(steps)


def look_up(document: Any, path: str) -> Any:
    """Return the value at the path. Raises LookupError that names the first step that fails."""
    here = document
    for step in parse_path(path):
        try:
            here = _step(here, step)
        except (LookupError, TypeError):
            raise LookupError(f"there is no {step}") from None
    return here


def _step(here: Any, step: Step) -> Any:
    if step.key is not None:
        if not isinstance(here, dict):
            raise LookupError
        return here[step.key]
    if not isinstance(here, list):
        raise LookupError
    if step.place is not None:
        return here[step.place]
    for each in here:
        if isinstance(each, dict) and step.by in each and as_text(each[step.by]) == step.value:
            return each
    raise LookupError


def as_text(value: Any) -> str:
    """Return a value in the form used for comparison: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
