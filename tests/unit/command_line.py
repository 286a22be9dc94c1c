"""Running labrun as a user does, and in this process with a command of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from labrun.runner import main as cli
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb
from tests.forked import run_forked

__all__ = ["Seen", "offer", "run_labrun"]

Body = Callable[..., Report]


def run_labrun(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run labrun in a process of its own, with no LABRUN_* variable but those given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LABRUN_", "_LABRUN"))}
    clean.pop("NO_COLOR", None)
    return run_forked(args, cwd=cwd, env={**clean, **(env or {})}, stdin=stdin, timeout=timeout)


@dataclass
class Seen:
    """The invocations and own parameters with which the test's command was called."""

    invocations: list[Invocation] = field(default_factory=list)
    params: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> Invocation:
        """Return the latest invocation."""
        return self.invocations[-1]


def offer(
    monkeypatch: pytest.MonkeyPatch,
    body: Body = lambda invocation: Report(),
    *params: Callable[[Body], Body],
    name: str = "demo",
    **settings: Any,
) -> Seen:
    """Offer ``labrun demo`` for the time of a test; ``body`` is called as every command's is."""
    seen = Seen()

    def recorded(invocation: Invocation, **own: Any) -> Report:
        seen.invocations.append(invocation)
        seen.params.append(own)
        return body(invocation, **own)

    recorded.__doc__ = "Do what the test wants."
    for param in params:
        param(recorded)
    module = ModuleType(f"labrun.runner.commands.{name}")
    command: click.Command = verb(name, **settings)(recorded)
    module.__dict__["command"] = command
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.VERBS, name, (name, "Do what the test wants."))
    for variable in [key for key in os.environ if key.startswith("LABRUN_")] + ["NO_COLOR"]:
        monkeypatch.delenv(variable, raising=False)
    return seen
