"""One labrun at a time changes the fleet."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from labrun.errors import LabrunError, LockedError
from labrun.runner.engine.fleet.model import FleetFolder
from labrun.state_folders import private_folder

__all__ = ["at_work"]


@contextlib.contextmanager
def at_work(folder: FleetFolder) -> Iterator[None]:
    """Hold the fleet's lock during the block. Raises LockedError if another labrun has it."""
    private_folder(folder.root)
    try:
        descriptor = os.open(
            folder.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise LabrunError(f"cannot use {folder.root}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                "another labrun is changing the fleet", hint="wait until it has ended"
            ) from error
        yield
    finally:
        os.close(descriptor)
