"""Safe terminal output: no control characters, and colour only if wanted."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TextIO

from labrun.errors import LabrunError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "FILE_WIDTH",
    "Screen",
    "console_on",
    "harmless",
    "height_of",
    "is_reader_gone",
    "printable",
    "say",
    "screen_on",
    "use_lossy_streams",
    "write",
]

FILE_WIDTH = 120
"""Columns of a table in a file or a pipe, unless COLUMNS is set."""
_TERMINAL_WIDTH, _LINES = 80, 24

# C0, DEL and C1 except newline and tab: guest output must not move the cursor.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


# The only sequences that labrun itself sends: colours, bold, dim and underlined. None of them hides text.
_COLOUR = r"(?:[0-4]|[349][0-7]|10[0-7]|[34]8;5;\d{1,3}|[34]8;2(?:;\d{1,3}){3})"
_SHOWN = re.compile(rf"\x1b\[{_COLOUR}?(?:;{_COLOUR})*m|{_CONTROL.pattern}")

_left: list[TextIO] = []  # the streams whose reader has gone away


def printable(text: str) -> str:
    """Return the text with control characters escaped (``\\x1b``) and tabs expanded."""
    return _CONTROL.sub(_spelled, text.replace("\r\n", "\n")).expandtabs(4)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def harmless(text: str) -> str:
    """Return the text with control characters escaped, except for the colours that labrun itself uses."""
    return _SHOWN.sub(lambda match: match[0] if len(match[0]) > 1 else _spelled(match), text)


def use_lossy_streams() -> None:
    """Escape characters that the terminal's encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Write one message to stderr. A closed stderr is not an error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(printable(text).rstrip("\n") + "\n")
        sys.stderr.flush()


def write(text: str) -> None:
    """Write a result to stdout and flush. A reader that has gone away is not an error.

    Later output is dropped then, so that ``labrun verify | head -1`` keeps its exit code. Raises
    LabrunError if the text cannot be written, for example on a full disk.
    """
    if sys.stdout is None:  # closed by the parent process
        return
    try:
        # A file gets the text unchanged; a terminal would interpret control sequences from any source.
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        _left.append(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise LabrunError(f"cannot write the results: {error.strerror}") from error


def is_reader_gone() -> bool:
    """Return whether the reader of stdout has gone away, so that a loop can stop."""
    return sys.stdout in _left


def _discard(stream: TextIO) -> None:
    # Otherwise the interpreter tries to flush again at exit, and complains.
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@dataclass(frozen=True, slots=True)
class Screen:
    """What text is written to: its width in columns, whether it shows colours, its encoding."""

    width: int
    has_colors: bool = False
    encoding: str = "utf-8"

    def encodes(self, text: str) -> bool:
        """Return whether the text can be written as it is."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True


def screen_on(stream: IO[str], *, color: bool, width: int | None = None) -> Screen:
    """Return the width of a stream, and whether to colour what is written to it.

    Colour requires both ``color`` and a terminal. ``width`` is in columns, by default COLUMNS, or the
    terminal's, or :data:`FILE_WIDTH`.
    """
    interactive = stream.isatty()
    is_dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    width = width or _declared_width() or (_terminal_width() if interactive else FILE_WIDTH)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return Screen(width, has_colors=color and interactive and not is_dumb, encoding=encoding)


def height_of(stream: IO[str]) -> int:
    """Return how many lines of a stream one sees at once: LINES, the terminal's, or 24."""
    lines = os.environ.get("LINES", "")
    if re.fullmatch("[1-9][0-9]{0,3}", lines):
        return int(lines)
    if stream.isatty():
        with contextlib.suppress(OSError):
            return max(os.get_terminal_size(stream.fileno()).lines, _LINES)
    return _LINES


def _declared_width() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if re.fullmatch("[1-9][0-9]{0,4}", columns) else None


def _terminal_width() -> int:
    for descriptor in (1, 2, 0):
        with contextlib.suppress(OSError):
            return os.get_terminal_size(descriptor).columns or _TERMINAL_WIDTH
    return _TERMINAL_WIDTH


def console_on(stream: IO[str], *, color: bool, width: int | None = None) -> Console:
    """Return a rich console that writes to ``stream``, for a live display; otherwise as :func:`screen_on`."""
    from rich.console import Console

    interactive = stream.isatty()
    if width is None and not interactive:
        width = screen_on(stream, color=color).width
    return Console(
        file=stream,
        width=width,
        no_color=not color,
        color_system="auto" if color and interactive else None,
        force_terminal=interactive,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
