"""The tasks that run in workers, each named by its module: a message can start no other function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from labrun.errors import LabrunError

__all__ = ["TASKS", "name_of", "task_of"]

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
