"""Files put into guests verbatim: shell under ``templates/guest``, with values in front, and units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from labrun.tasks.guest.shell import quote

__all__ = ["assigned", "guest_script", "unit_file"]


@cache
def guest_script(name: str) -> str:
    """Return the text of ``templates/guest/NAME.sh``; raises FileNotFoundError if it does not exist."""
    return (files("labrun.templates") / "guest" / f"{name}.sh").read_text(encoding="utf-8")


@cache
def unit_file(name: str) -> str:
    """Return the text of ``templates/systemd/NAME``, a unit that is the same on every host."""
    return (files("labrun.templates") / "systemd" / name).read_text(encoding="utf-8")


def assigned(values: Mapping[str, str | int | bool]) -> str:
    """Return the values as shell assignments, one per line; False is empty and True is ``yes``."""
    return "".join(f"{name}={quote(_word(value))}\n" for name, value in values.items())


def _word(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
