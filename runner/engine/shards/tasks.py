"""The tasks that run in workers, each named by its module: a message can start no other function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from labrun.errors import LabrunError

__all__ = ["REPEATED", "TASKS", "name_of", "repeats", "task_of"]

TASKS: Final = frozenset(
    {
        "labrun.tasks.collect.task:collect",
        "labrun.tasks.configure.task:configure",
        "labrun.tasks.drift.task:observe",
        "labrun.tasks.drift.task:read_log",
        "labrun.runner.commands.exec:run_command",
        "labrun.runner.commands.status:try_login",
    }
)
"""Each is a function of a module, with plain values as parameters and a result that the codec knows."""

_CONFIGURE: Final = "labrun.tasks.configure.task:configure"
REPEATED: Final = TASKS - {_CONFIGURE, "labrun.runner.commands.exec:run_command"}
"""Those that only read, and may start again where a worker is lost. What a user's command does is unknown."""


def repeats(name: str, params: Mapping[str, Any]) -> bool:
    """Return whether a task may be started again on a host where it may have begun."""
    return name in REPEATED or (name == _CONFIGURE and bool(params.get("dry_run")))


def name_of(function: Callable[..., Any]) -> str | None:
    """Return the name by which a worker finds a task, None if it does not run in workers."""
    name = f"{function.__module__}:{getattr(function, '__qualname__', '')}"
    return name if name in TASKS else None


def task_of(name: str) -> Callable[..., Any]:
    """Return the task of a name. Raises LabrunError for one that is not in :data:`TASKS`."""
    if name not in TASKS:
        raise LabrunError(f"{name} is not a task for workers", step="worker")
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
