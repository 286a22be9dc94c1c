"""The format of what a command writes: by its option, or by the ending of the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labrun.errors import UsageError
from labrun.runner.cli.outputs import is_stdout

__all__ = ["format_of"]


def format_of(
    output: Path | None, given: str | None, endings: Mapping[str, str], default: str, *, option: bool = True
) -> str:
    """Return the format to write, ``default`` if neither the option nor the name says which.

    ``endings`` are the formats by ending (``.svg``). Raises UsageError where option and ending contradict
    each other, and for an ending that says something else than any of the formats; without ``option``, the
    command has no --format.
    """
    ending = "" if output is None or is_stdout(output) else output.suffix.lower()
    meant = endings.get(ending)
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
            hint=f"{'name --format, or ' if option else ''}end the name with {known}",
        )
    return meant or default
