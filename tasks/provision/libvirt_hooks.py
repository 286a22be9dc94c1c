"""Hooks: programs that libvirt runs by itself when it starts something, without labrun."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import HypervisorError
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.overlay import LABS

__all__ = ["Hook", "alone", "starting"]

_HOOKS = Path("/etc/libvirt/hooks")


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook for one kind of object (``lxc``, ``network``); ``script`` is in ``templates/hypervisor``."""

    kind: str
    script: str

    @property
    def path(self) -> Path:
        """Return its file: libvirt runs every program in this folder, beside the administrator's own hook."""
        return _HOOKS / f"{self.kind}.d" / "labrun"

    def _text(self) -> str:
        return "#!/bin/sh\n" + assigned({"labs": str(LABS)}) + hypervisor_script(self.script)

    def is_there(self) -> bool:
        """Tell whether the hook is there, as this labrun writes it."""
        try:
            return self.path.read_text(encoding="utf-8") == self._text() and os.access(self.path, os.X_OK)
        except (OSError, UnicodeDecodeError):
            return False

    def install(self, step: str, hint: str | None = None) -> None:
        """Write the hook; libvirtd finds it when it starts next. Raises HypervisorError."""
        if self.is_there():
            return
        draft = _HOOKS / f".labrun-{self.kind}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _write_program(draft, self._text())
            draft.replace(self.path)
        except OSError as error:
            raise HypervisorError(
                f"cannot write {self.path}: {error.strerror}", step=step, hint=hint
            ) from error

    def remove(self) -> None:
        """Remove the hook if it is there."""
        self.path.unlink(missing_ok=True)


def _write_program(path: Path, text: str) -> None:
    """Write a program by a process of its own. Raises OSError.

    Written here, a process that another thread is just starting would hold the file open for writing a
    moment longer, and the kernel runs no program that somebody may still write.
    """
    done = subprocess.run(
        ["install", "-m", "755", "/dev/stdin", str(path)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(0, done.stderr.strip().rpartition(": ")[2])


@contextmanager
def alone() -> Iterator[None]:
    """Keep other runs of labrun from installing and removing hooks, and from starting anything, meanwhile."""
    LABS.mkdir(parents=True, exist_ok=True)
    with _locked(fcntl.LOCK_EX):
        yield


@contextmanager
def starting() -> Iterator[None]:
    """Keep the hooks as they are while libvirt starts something; any number of starts go side by side.

    libvirt looks for a hook and then runs it: one that is removed in between fails the start.
    """
    if not os.access(LABS, os.R_OK):
        # There are none of labrun's, or they are another user's.
        yield
        return
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(how: int) -> Iterator[None]:
    folder = os.open(LABS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, how)
        yield
    finally:
        os.close(folder)
