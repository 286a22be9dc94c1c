"""Load a user's file of Nornir tasks, find the task in it, and fit the given values to its parameters."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from labrun.errors import UsageError
from labrun.inventory.file.problems import did_you_mean, quoted

__all__ = ["UserTask", "load_task", "parameters_of"]

UserTask: TypeAlias = Callable[..., Any]
"""A Nornir task: a function of Nornir's Task and further parameters."""
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAME = "labrun_user_tasks"


def load_task(place: str) -> UserTask:
    """Return the task of ``FILE.py``, ``FILE.py:TASK`` or ``MODULE:TASK``. The file is run, as by Python.

    Without a name, the file has to have one task of its own: a function whose first parameter is Nornir's
    Task, or is called ``task``. Raises UsageError with the file's line for whatever keeps it from loading.
    """
    where, colon, wanted = place.partition(":")
    is_file = where.endswith(".py") or "/" in where or not _MODULE.fullmatch(where)
    if colon and not wanted:
        raise UsageError(f"{place} names no task after the colon", hint=f"labrun run {where}:TASK")
    module = _loaded(Path(where)) if is_file else _imported(where, place)
    if wanted:
        return _named(module, where, wanted)
    own = _tasks_of(module)
    if not own:
        hint = "a task is a function whose first parameter is called `task`, or is Nornir's Task"
        raise UsageError(f"{where} has no Nornir task", hint=hint)
    if len(own) > 1:
        names = ", ".join(own)
        hint = f"name one, such as labrun run {where}:{next(iter(own))}"
        raise UsageError(f"{where} has several tasks: {names}", hint=hint)
    return next(iter(own.values()))


def _loaded(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise UsageError(f"{path}: {what}", hint="labrun run FILE.py[:TASK]")
    spec = importlib.util.spec_from_file_location(_NAME, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file", hint="its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look their module up.
    sys.modules[_NAME] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # At the end: modules beside the file can be imported, and replace none of labrun's.
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{error.filename or path}:{error.lineno or 1}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path}:{_line_in(path, error)}: {_words(error)}") from error
    return module


def _imported(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or name.split(".")[0] != error.name.split(".")[0]:
            raise UsageError(f"{name}: {_words(error)}") from error
        if Path(name).is_file():
            raise UsageError(f"{name} is no Python file", hint="its name has to end in .py") from error
        hint = f"for a file: labrun run ./{place}" if Path(name).exists() else "labrun run FILE.py[:TASK]"
        raise UsageError(f"{name} is neither a file nor a Python module", hint=hint) from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name}: {_words(error)}") from error


def _line_in(path: Path, error: BaseException) -> int:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path.resolve() and frame.lineno
    ]
    return lines[-1] if lines else 1


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _tasks_of(module: ModuleType) -> dict[str, UserTask]:
    """Return the tasks that the module itself defines, in its order; those with an underscore are its own."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and _takes_a_task(value)
    }


def _takes_a_task(function: UserTask) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
        return False
    annotation = first.annotation
    kind = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return first.name == "task" or kind.rsplit(".", 1)[-1] == "Task"


def _named(module: ModuleType, where: str, wanted: str) -> UserTask:
    value = getattr(module, wanted, None)
    if value is None:
        own = list(_tasks_of(module))
        hint = did_you_mean(wanted, own) or (f"it has {', '.join(own)}" if own else "it has none")
        raise UsageError(f"{where} has no task {quoted(wanted)}", hint=hint)
    if not inspect.isroutine(value) or not inspect.signature(value).parameters:
        raise UsageError(f"{wanted} of {where} is no function of a task")
    task: UserTask = value
    return task


def parameters_of(task: UserTask, settings: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments for ``--set K=V``.

    A value is JSON where it can be (``3``, ``true``, ``[1, 2]``), else text; always text for a parameter
    that is annotated so. Raises UsageError for an unknown or a missing parameter.
    """
    signature = inspect.signature(task)
    others = list(signature.parameters.values())[1:]
    known = {
        each.name: each for each in others if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    takes_any = any(each.kind is each.VAR_KEYWORD for each in others)
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{quoted(setting)} is not of the form NAME=VALUE", step="--set")
        if key not in known and not takes_any:
            hint = did_you_mean(key, known) or (f"it has {', '.join(known)}" if known else "it has none")
            raise UsageError(f"{task.__name__} has no parameter {quoted(key)}", step="--set", hint=hint)
        given[key] = _value(text, known.get(key))
    missing = [name for name, each in known.items() if each.default is each.empty and name not in given]
    if missing:
        raise UsageError(
            f"{task.__name__} needs a value for {', '.join(missing)}", hint=f"--set {missing[0]}=VALUE"
        )
    return given


def _value(text: str, parameter: inspect.Parameter | None) -> Any:
    if parameter is not None and parameter.annotation in (str, "str"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
