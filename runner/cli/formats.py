"""The format of what a command writes: by its option, or by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labrun.errors import UsageError
from labrun.runner.cli.outputs import is_stdout

__all__ = ["format_of"]


def format_of(
    output: Path | None, given: str | None, endings: Mapping[str, str], default: str, *, only: bool = False
) -> str:
    """Return the format to write, ``default`` if neither the option nor the name says which.

    ``endings`` are the formats by ending (``.svg``). Raises UsageError where option and ending contradict
    each other, and for an ending that says something else than any of the formats. ``only`` = the command
    writes nothing but the default, and has no option.
    """
    ending = "" if output is None or is_stdout(output) else output.suffix.lower()
    meant = endings.get(ending)
    if only:
        if meant not in (None, default):
            raise UsageError(
                f"{output} would be {meant} by its ending, but it is written as {default}",
                step="--output",
                hint="choose another name",
            )
        return default
    if given is not None:
        if meant is not None and meant != given:
            raise UsageError(
                f"{output} would be {meant} by its ending, but --format is {given}",
                step="--output",
                hint="leave out --format, or choose another name",
            )
        return given
    if ending and meant is None:
        known = ", ".join(f"{each} ({format_})" for each, format_ in endings.items())
        raise UsageError(
            f"{output}: the ending {ending} says no format",
            step="--output",
            hint=f"name --format, or end the name with {known}",
        )
    return meant or default
