"""The JSON that a command of a gather printed, or why it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrun.bounded import Hook, objects, read_json
from labrun.errors import CommandError
from labrun.tasks.guest.shell import Captured, Facts

__all__ = ["answer", "rows"]

_BUSYBOX = "BusyBox v"
_NOT_ASKED = Captured("not asked", 127)


def answer(facts: Facts, name: str, what: str, hook: Hook | None = None) -> Any:
    """Return the JSON output of the command ``name``, an empty list for no output.

    ``what`` names the command in errors. Raises CommandError with the command's message if it failed,
    UnreadableError for invalid JSON.
    """
    output = facts.commands.get(name, _NOT_ASKED)
    if output.status != 0:
        if what.startswith("ip ") and _BUSYBOX in output.both:
            raise CommandError("busybox's `ip` prints no JSON: install iproute2", step=what)
        raise CommandError(output.last_line, step=what)
    # iproute2 prints nothing for an empty table.
    return read_json(output.text if output.text.strip() else "[]", what, hook)


def rows(facts: Facts, name: str, what: str, kind: str) -> list[Mapping[str, Any]]:
    """Return the objects of a JSON list; ``kind`` names them in errors."""
    return objects(answer(facts, name, what), what, kind)
