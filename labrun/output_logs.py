"""Where the long output of other programs goes: files in the state directory, which rows and errors name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError
from labrun.state_folders import private_folder

__all__ = ["FOLDER", "keep_output", "line_log", "log_path"]

FOLDER: Final = "logs"


def log_path(base: Path, name: str) -> Path:
    """Return where the output called ``name`` goes, below the state directory ``base``."""
    return base / FOLDER / f"{name}.log"


@contextlib.contextmanager
def line_log(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Open a log for the block; it replaces an earlier one. Yields what takes a line without its end.

    None, or a directory that cannot be written to, keeps nothing: what is logged goes on all the same.
    """
    with contextlib.ExitStack() as stack:
        try:
            if path is None:
                raise FileNotFoundError
            private_folder(path.parent)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            file = stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8", errors="replace"))
        except (OSError, LabrunError):
            yield lambda _line: None
            return

        def note(line: str) -> None:
            with contextlib.suppress(OSError):
                file.write(line + "\n")
                file.flush()

        yield note


def keep_output(path: Path, text: str) -> bool:
    """Write ``text`` as a log. Return whether it could be written."""
    with line_log(path) as note:
        note(text.rstrip("\n"))
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
