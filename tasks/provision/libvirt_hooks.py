"""Hooks: programs that libvirt runs by itself when it starts something, without labrun."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import HypervisorError
from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision.overlay import LABS

__all__ = ["Hook", "alone"]

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
            draft.write_text(self._text(), encoding="utf-8")
            draft.chmod(0o755)
            draft.replace(self.path)
        except OSError as error:
            raise HypervisorError(
                f"cannot write {self.path}: {error.strerror}", step=step, hint=hint
            ) from error

    def remove(self) -> None:
        """Remove the hook if it is there."""
        self.path.unlink(missing_ok=True)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other runs of labrun from installing and removing hooks meanwhile."""
    LABS.mkdir(parents=True, exist_ok=True)
    folder = os.open(LABS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
