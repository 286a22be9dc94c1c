"""Read the bytes of a lab file, from disk or standard input, and reject input that cannot be one."""

from __future__ import annotations

import errno
import hashlib
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from labrun.errors import LabFileError, Problem, UsageError
from labrun.regular_files import read_regular

__all__ = ["FILE_NAME", "LARGEST", "Source", "find_lab_file", "read_source"]

FILE_NAME: Final = "lab.yaml"
LARGEST: Final = 1024 * 1024
STDIN: Final = "<stdin>"

# YAML allows nearly every character: compiling a pattern of the allowed ones takes ten times as long.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Source:
    """A lab file's text: ``name`` as given on the command line, ``directory`` for relative paths.

    ``allow_outside`` = the user permits the lab to read files outside this directory.
    """

    name: str
    directory: str
    text: str
    digest: str
    allow_outside: bool = False


def find_lab_file(start: Path) -> Path:
    """Return the ``lab.yaml`` in ``start`` or the nearest of its parents.

    Raises :class:`labrun.errors.UsageError` if there is none.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
    raise UsageError(f"no {FILE_NAME} in {here} or above", hint="name one with --lab FILE")


def read_source(path: Path | str, stdin: TextIO | None = None, *, allow_outside: bool = False) -> Source:
    """Return the file's text; ``-`` reads ``stdin``.

    Raises :class:`labrun.errors.LabFileError` for anything but a UTF-8 text file of at most 1 MiB.
    """
    if str(path) == "-":
        source = decode_source(_read_stdin(stdin or sys.stdin), STDIN, str(Path.cwd()))
    else:
        source = _read_file(Path(path), str(path))
    return replace(source, allow_outside=allow_outside)


def _read_file(file: Path, name: str) -> Source:
    try:
        data = read_regular(file, LARGEST)
    except IsADirectoryError:
        raise _refused(name, 0, "this is a directory, not a lab file", f"--lab {file / FILE_NAME}") from None
    except FileNotFoundError:
        raise _refused(name, 0, "there is no such file") from None
    except (OSError, ValueError) as error:
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        if number == errno.EFBIG:
            raise _too_large(name) from None
        if number == errno.EINVAL:
            raise _refused(name, 0, "this is not a regular file", "--lab - reads standard input") from None
        if isinstance(error, ValueError):
            # Python's own words for it are others in each version.
            reason = "the name has a null byte"
        raise _refused(name, 0, f"the file cannot be read: {reason}") from error
    return decode_source(data, name, str(file.resolve().parent))


def decode_source(data: bytes, name: str, directory: str) -> Source:
    """Return these bytes as a source; raises like :func:`read_source`."""
    if len(data) > LARGEST:
        raise _too_large(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        shown = f"byte 0x{data[error.start]:02x}"
        raise _refused(name, line, f"the file is not UTF-8 ({shown})", "save it as UTF-8") from None
    if odd := _NOT_TEXT.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise _refused(name, line, f"the control character U+{ord(odd[0]):04X} is not allowed") from None
    return Source(name, directory, text, hashlib.sha256(data).hexdigest())


def _read_stdin(stdin: TextIO) -> bytes:
    raw = getattr(stdin, "buffer", None)
    if raw is not None:
        data: bytes = raw.read(LARGEST + 1)
        return data
    return stdin.read(LARGEST + 1).encode("utf-8", "surrogateescape")


def _too_large(name: str) -> LabFileError:
    return _refused(
        name, 0, "the file is larger than 1 MiB", "a lab file describes a lab, it is not for data"
    )


def _refused(name: str, line: int, what: str, hint: str | None = None) -> LabFileError:
    return LabFileError(name, (Problem(line, "", what, hint),))
