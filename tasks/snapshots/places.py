"""Where the files of machines and of their snapshots are: on this machine, or on another hypervisor.

Both have them at the same paths. What is on another machine its root shell works on; it is not copied here.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Protocol

from labrun.bounded import integer
from labrun.errors import HypervisorError
from labrun.hypervisor import is_local
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.hypervisor_shell import run_as_root
from labrun.tasks.snapshots.tree_copy import copy_file

__all__ = ["Place", "begin_far", "finish_far", "place_of", "remove_far", "size_far"]

_COPY_SECONDS = 3600.0


class Place(Protocol):
    """Files on a hypervisor. Methods raise OSError or HypervisorError."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder for root alone, which must not exist."""
        ...

    def copy(self, source: str, target: str) -> int:
        """Copy a file with owner, mode and holes to a path that is free; return the bytes that it takes."""
        ...

    def write(self, path: Path, text: str) -> None:
        """Write a short text."""
        ...

    def read(self, path: Path) -> str:
        """Return a text."""
        ...

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file."""
        ...

    def move(self, source: str, target: str) -> None:
        """Give a file the path of another one, which it replaces."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        ...

    def size(self, path: Path) -> int:
        """Return the bytes that a file takes."""
        ...

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        """Return the files in a folder whose names match, in order."""
        ...


class _Here:
    def make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)

    def copy(self, source: str, target: str) -> int:
        return copy_file(source, target)

    def write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")

    def read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8")

    def exists(self, path: Path) -> bool:
        return path.exists()

    def move(self, source: str, target: str) -> None:
        Path(source).replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def size(self, path: Path) -> int:
        return path.stat().st_blocks * 512

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        return sorted(folder.glob(pattern))


class _Far:
    def __init__(self, uri: str) -> None:
        self._uri = uri

    def make_folder(self, folder: Path) -> None:
        _run(self._uri, f"mkdir -m 700 {_q(folder)}")

    def copy(self, source: str, target: str) -> int:
        copy = f"cp --reflink=auto --sparse=always --preserve=all -- {_q(source)} {_q(target)}"
        return _number(_run(self._uri, f"[ ! -e {_q(target)} ]\n{copy}\n{_blocks(target)}")) * 512

    def write(self, path: Path, text: str) -> None:
        _run(self._uri, f"umask 077\nprintf %s {_q(text)} > {_q(path)}")

    def read(self, path: Path) -> str:
        return _run(self._uri, f"cat -- {_q(path)}")

    def exists(self, path: Path) -> bool:
        return _run(self._uri, f"if [ -e {_q(path)} ]; then echo 1; fi").strip() == "1"

    def move(self, source: str, target: str) -> None:
        _run(self._uri, f"mv -fT -- {_q(source)} {_q(target)}")

    def remove(self, path: Path) -> None:
        _run(self._uri, f"rm -f -- {_q(path)}")

    def size(self, path: Path) -> int:
        return _number(_run(self._uri, _blocks(path))) * 512

    def matching(self, folder: Path, pattern: str) -> list[Path]:
        # The shell's own patterns are the same; what is no pattern is quoted.
        words = "*".join(shlex.quote(part) if part else "" for part in pattern.split("*"))
        script = f'for each in {_q(folder)}/{words}; do [ ! -e "$each" ] || echo "$each"; done'
        return sorted(Path(line) for line in _run(self._uri, script).splitlines())


def place_of(uri: str) -> Place:
    """Return the place of the files of machines on a hypervisor."""
    return _Here() if is_local(uri) else _Far(uri)


def begin_far(uri: str, part: Path, folder: Path) -> None:
    """Make an empty folder on another machine; what it has at either path is of a killed run, and goes."""
    values = {"lab": str(part.parent), "part": str(part), "folder": str(folder)}
    _run(uri, assigned(values) + hypervisor_script("snapshot_folder"))


def finish_far(uri: str, part: Path, folder: Path) -> None:
    """Give a filled folder on another machine its name."""
    _run(uri, f"mv -T -- {_q(part)} {_q(folder)}")


def remove_far(uri: str, folder: Path) -> None:
    """Delete a folder on another machine, and the one above it when that is empty then."""
    _run(uri, f"rm -rf -- {_q(folder)}\nrmdir -- {_q(folder.parent)} 2>/dev/null || true")


def size_far(uri: str, folder: Path) -> int:
    """Return the bytes that a folder on another machine takes."""
    return _number(_run(uri, f"du -sB1 -- {_q(folder)} | cut -f1"))


def _run(uri: str, script: str) -> str:
    return run_as_root(uri, f"set -e\n{script}\n", "snapshot", _COPY_SECONDS)


def _blocks(path: str | Path) -> str:
    return f"stat -c %b -- {_q(path)}"


def _q(path: str | Path) -> str:
    return shlex.quote(str(path))


def _number(text: str) -> int:
    found = integer(text.strip())
    if found is None:
        raise HypervisorError(f"{text.strip()[:80]!r} is no size of a file", step="snapshot")
    return found
