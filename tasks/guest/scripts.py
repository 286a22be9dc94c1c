"""What goes into guests: shell under ``templates/guest`` without comments, quoted values in front, and units.

The text of a file is constant. Values reach it in variables (:func:`assigned`) or as the words of a call.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import labrun.templates

__all__ = [
    "assigned",
    "function",
    "grouped",
    "guest_program",
    "guest_script",
    "hypervisor_script",
    "quote",
    "unit_file",
    "words",
    "wrapped",
]

# Without importlib.resources, whose import costs more than reading all of these files.
_TEMPLATES = Path(next(iter(labrun.templates.__path__)))


def quote(text: str) -> str:
    """Return ``text`` as one word of a POSIX shell, whichever characters it has; NUL raises ValueError."""
    if "\0" in text:
        raise ValueError("a NUL character cannot be handed to a shell")
    return shlex.quote(text)


def words(texts: Iterable[str]) -> str:
    """Return each text as one word of a POSIX shell, with spaces between them."""
    return " ".join(map(quote, texts))


@cache
def guest_script(name: str) -> str:
    """Return the code of ``templates/guest/NAME.sh``; raises FileNotFoundError if it does not exist.

    Comments stay here: every guest would have to receive and parse them, and the guard's several times.
    """
    text = (_TEMPLATES / "guest" / f"{name}.sh").read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


@cache
def guest_program(name: str) -> str:
    """Return the text of ``templates/guest/NAME.py``, for what a shell cannot do."""
    return (_TEMPLATES / "guest" / f"{name}.py").read_text(encoding="utf-8")


@cache
def hypervisor_script(name: str) -> str:
    """Return the text of ``templates/hypervisor/NAME.sh``, which runs beside libvirtd and not in a guest."""
    return (_TEMPLATES / "hypervisor" / f"{name}.sh").read_text(encoding="utf-8")


@cache
def unit_file(name: str) -> str:
    """Return the text of ``templates/systemd/NAME``, a unit that is the same on every host."""
    return (_TEMPLATES / "systemd" / name).read_text(encoding="utf-8")


@cache
def openrc_service(name: str) -> str:
    """Return the text of ``templates/openrc/NAME``, a service of OpenRC that is the same on every host."""
    return (_TEMPLATES / "openrc" / name).read_text(encoding="utf-8")


def assigned(values: Mapping[str, str | int | bool]) -> str:
    """Return the values as shell assignments, one per line; False is empty and True is ``yes``."""
    return "".join(f"{name}={quote(_word(value))}\n" for name, value in values.items())


def function(name: str, lines: str) -> str:
    """Return the definition of a shell function with these lines, which may be none."""
    return f"{name}() {{ :\n{lines.rstrip()}\n}}\n"


def grouped(script: str) -> str:
    """Return the script as one group, so that a shell parses all of it before it runs any of it.

    The blank line keeps a trailing backslash from joining the closing brace.
    """
    return f"{{ :\n{script}\n\n}}"


def wrapped(script: str) -> str:
    """Return the script as a group that can be fed to a shell.

    A truncated script does nothing, and no command in it can consume the rest by reading stdin.
    """
    return f"{grouped(script)} </dev/null\n"


def _word(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
