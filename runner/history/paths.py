"""Locate a lab's history, and find the lab's name from the file alone, without a hypervisor."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import LabrunError, UsageError
from labrun.inventory.file.source import LARGEST
from labrun.regular_files import read_regular
from labrun.state import state_base
from labrun.state_files import keep_regular
from labrun.state_folders import check_folder

if TYPE_CHECKING:
    from labrun.runner.cli.invocation import Invocation

__all__ = ["history_path", "is_unheard_of", "lab_name", "labs_known"]

_LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_OF_STATE = re.compile(r"(.+)-[0-9a-f]{8}")


def history_path(invocation: Invocation, lab: str) -> Path:
    """Return the file given by ``--history``, else the lab's history in the state directory.

    It is kept next to the directories that `down` removes, so it outlives the lab. Anything at this path
    that is not a regular file of the user is set aside. Raises LabrunError if other users could have put
    something there.
    """
    if invocation.history is not None:
        return invocation.history
    path = (invocation.state_dir or state_base()) / "history" / f"{lab}.sqlite"
    check_folder(path.parent)
    if path.parent.exists():
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            keep_regular(file)
    return path


def labs_known(invocation: Invocation) -> list[str]:
    """Return the labs that have a state directory here or a history, in no order."""
    base = invocation.state_dir or state_base()
    of_states = (_OF_STATE.fullmatch(folder.name) for folder in base.glob("*-*"))
    names = [match[1] for match in of_states if match] + [path.stem for path in base.glob("history/*.sqlite")]
    return [name for name in dict.fromkeys(names) if _LAB_NAME.fullmatch(name)]


def is_unheard_of(invocation: Invocation, lab: str) -> bool:
    """Return whether nothing of the lab is kept here, and no ``--history`` asks for it."""
    try:
        return invocation.history is None and lab not in labs_known(invocation)
    except OSError:
        return False


def lab_name(invocation: Invocation, given: str | None = None) -> str:
    """Return the name from ``--name``, else from the lab file, which need not be valid otherwise.

    Raises UsageError, LabrunError.
    """
    if given is not None:
        if _LAB_NAME.fullmatch(given) is None:
            raise UsageError(f'"{given}" is not a lab name', step="--name")
        return given
    from labrun.runner.cli.lab_file import path_of

    path = path_of(invocation)
    text = sys.stdin.read(LARGEST) if path == "-" else _read(path)
    name = _name_in(text)
    if name is None:
        raise LabrunError(f"{path} does not name the lab", hint="--name LAB works without the file")
    return name


def _read(path: str) -> str:
    try:
        return read_regular(Path(path), LARGEST).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {os.fspath(path)}: {getattr(error, 'strerror', error)}",
            hint="--name LAB works without the file",
        ) from error


def _name_in(text: str) -> str | None:
    """Return the value of the top-level key ``name``, without checking or even reading the rest."""
    import yaml

    depth, key, is_name = 0, True, False
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth == 1 and not isinstance(event, yaml.MappingStartEvent):
                    return None
                # A collection is a key or a value of its enclosing mapping.
                key, is_name = (not key if depth == 2 else key), False
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif depth == 1 and isinstance(event, yaml.ScalarEvent):
                if is_name:
                    return event.value if _LAB_NAME.fullmatch(event.value) else None
                is_name = key and event.value == "name"
                key = not key
    except yaml.YAMLError:
        return None
    return None
