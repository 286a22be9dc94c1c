"""Whole labs for tests: a lab file, the real command line, and what it answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import leftovers, places
from tests.forked import run_forked

__all__ = ["EXAMPLES", "Answer", "RunningLab"]

EXAMPLES = places.EXAMPLES
_LABRUN = (sys.executable, "-m", "labrun")
_SECONDS = 900


@dataclass(frozen=True)
class Answer:
    """What one command line gave back; ``document`` is its JSON, empty without one."""

    exit_code: int
    stdout: str
    stderr: str
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the results."""
        return list(self.document.get("results", []))

    def of(self, section: str, host: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of a section, of one host or of one name."""
        return [
            row
            for row in self.rows
            if row["section"] == section and host in (None, row["host"]) and name in (None, row["name"])
        ]

    def statuses(self, *sections: str) -> set[str]:
        """Return the statuses that occur in these sections, in all for none."""
        return {row["status"] for row in self.rows if not sections or row["section"] in sections}

    def bad(self) -> list[dict[str, Any]]:
        """Return the rows that are neither ok nor changed nor skipped."""
        return [row for row in self.rows if row["status"] not in ("ok", "changed", "skipped")]

    def trouble(self) -> str:
        """Say what went wrong, for assertion messages: pytest shortens values, but no text."""
        keys = ("host", "section", "name", "status", "actual", "why", "diff")
        lines = [" | ".join(str(row.get(key)) for key in keys) for row in self.bad()]
        return "\n".join(lines + [self.stderr] * bool(self.stderr))


@dataclass
class RunningLab:
    """A lab file and the environment to work on it; every call is a process of its own."""

    path: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: this process's without labrun's own variables."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LABRUN_")}
        if "LABRUN_IMAGE_DIR" in os.environ:
            clean["LABRUN_IMAGE_DIR"] = os.environ["LABRUN_IMAGE_DIR"]
        return {**clean, **self.env}

    def arguments(self, *words: str) -> list[str]:
        """Return the whole command line for these words; a lab that comes up by it is noted."""
        name = leftovers.lab_name(self.path)
        if name and "up" in words:
            leftovers.note(name)
        lab = ["--lab", str(self.path), "--state-dir", str(self.state)]
        return [*_LABRUN, *lab, *words]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start the command and return at once, its output unread; the caller waits for it."""
        null = subprocess.DEVNULL
        return subprocess.Popen(
            self.arguments(*words), env=self.environment(), stdin=null, stdout=null, stderr=null
        )

    def run(self, *words: str, stdin: str | None = None) -> Answer:
        """Run the command and return what it said as text."""
        done = self._done(self.arguments(*words), stdin or "")
        if done.returncode == 0 and "down" in words and "--hosts" not in words:
            leftovers.forget(leftovers.lab_name(self.path) or "")
        return Answer(done.returncode, done.stdout, done.stderr)

    def _done(self, command: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
        env = self.environment()
        own = len(_LABRUN)
        # The imports are half a second of a processor each time. Somebody else's namespaces or program search
        # path hold for the whole process.
        if command[:own] == [*_LABRUN] and env.get("PATH") == os.environ.get("PATH"):
            return run_forked(command[own:], cwd=Path.cwd(), env=env, stdin=stdin, timeout=_SECONDS)
        return subprocess.run(
            command, env=env, input=stdin, capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    def json(self, *words: str) -> Answer:
        """Run the command with ``--json`` and return what it said as a document."""
        answer = self.run("--json", *words)
        try:
            document = json.loads(answer.stdout)
        except ValueError:
            raise AssertionError(f"no JSON document: {answer.stdout!r} {answer.stderr}") from None
        assert document["exit_code"] == answer.exit_code, answer.stderr
        assert document["ok"] is (answer.exit_code == 0)
        return Answer(answer.exit_code, answer.stdout, answer.stderr, document)

    def guest(self, host: str, script: str, *, sudo: bool = True) -> str:
        """Run a shell line on a host as a person would, by hand over SSH; returns its output."""
        line = f"sudo sh -c {json.dumps(script)}" if sudo else script
        answer = self.run("ssh", host, line)
        assert answer.exit_code == 0, answer.stderr + answer.stdout
        return answer.stdout
