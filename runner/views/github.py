"""Results as annotations of GitHub Actions: one for each cause, at its line of the lab file.

The runner reads them from the log, as workflow commands: lines that begin with ``::``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from labrun.errors import LabFileError, LabrunError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.document import reason_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import printable
from labrun.runner.views.status_look import look
from labrun.runner.views.table import order, subject

__all__ = ["Places", "places_of", "shielded", "workflow_commands"]

_MOST_NAMED: Final = 5
"""Rows that one annotation names; GitHub shows ten annotations of a step, so a cause has one."""
_KEYS: Final = {"address": "networks"}
"""Sections of a host that have another name in the lab file."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the lab file has what a row is about: ``line`` is a function of the path of a key."""

    file: str = ""
    line: Callable[[tuple[str | int, ...]], int] | None = None
    checks: Mapping[str, int] = field(default_factory=dict)

    def of(self, row: Outcome) -> dict[str, str]:
        """Return the properties ``file`` and ``line``, as far as they are known."""
        if self.line is None:
            return {"file": self.file} if self.file else {}
        return {"file": self.file, "line": str(self.line(self._path(row)))}

    def _path(self, row: Outcome) -> tuple[str | int, ...]:
        if row.section == "check" and row.name in self.checks:
            return ("checks", self.checks[row.name])
        if row.host == HYPERVISOR:
            return ("networks", row.name)
        return ("hosts", row.blamed or row.host, _KEYS.get(row.section, row.section), row.name)


def places_of(invocation: Invocation, environ: Mapping[str, str] = os.environ) -> Places:
    """Return the places of the invocation's lab file, none if there is none that can be read."""
    from labrun.inventory.file.source import read_source
    from labrun.inventory.file.yaml_tree import line_in, parse_tree
    from labrun.runner.cli.lab_file import lab_path

    try:
        path = lab_path(invocation.lab)
        if path == "-":
            return Places()
        root, _ = parse_tree(read_source(path), lambda _path: ())
    except LabrunError:
        return Places()
    checks = root.value.get("checks") if isinstance(root.value, dict) else None
    listed = checks.value if checks is not None and isinstance(checks.value, list) else []
    names = {
        str(name.value): number
        for number, check in enumerate(listed)
        if isinstance(check.value, dict) and (name := check.value.get("name")) is not None
    }
    return Places(_from_workspace(path, environ), lambda below: line_in(root, below), names)


def _from_workspace(path: str, environ: Mapping[str, str]) -> str:
    """Return a file as GitHub names it: from the repository, which is checked out in the workspace."""
    here, base = Path(path).absolute(), Path(environ.get("GITHUB_WORKSPACE") or Path.cwd()).absolute()
    return str(here.relative_to(base)) if here.is_relative_to(base) else path


def shielded(text: str) -> str:
    """Return a log in which the runner takes nothing for a command, whatever a guest has printed."""
    if not text:
        return ""
    token = f"labrun-{secrets.token_hex(8)}"
    return f"::stop-commands::{token}\n{text}::{token}::\n"


def workflow_commands(
    report: Report, command: str, places: Places, environ: Mapping[str, str] = os.environ
) -> str:
    """Return the lines of a report: its error, then its rows that are not ok, the worst first."""
    lines = [*_of_error(report.error, command, environ), *_of_rows(report.outcomes, command, places)]
    return "".join(f"{line}\n" for line in lines)


def _of_error(error: LabrunError | None, command: str, environ: Mapping[str, str]) -> Iterable[str]:
    if isinstance(error, LabFileError):
        # Standard input is no file of the repository.
        file = "" if error.source.startswith("<") else _from_workspace(error.source, environ)
        for problem in error.problems:
            place = {"file": file, "line": str(problem.line)} if file else {}
            hint = f" ({problem.hint})" if problem.hint else ""
            what = f"{problem.path}: {problem.what}" if problem.path else problem.what
            yield _command("error", {**place, "title": "lab file"}, what + hint)
    elif error is not None:
        hint = f"\n{error.hint}" if error.hint else ""
        yield _command("error", {"title": f"labrun {command}"}, reason_of(error) + hint)


def _of_rows(rows: Sequence[Outcome], command: str, places: Places) -> Iterable[str]:
    by_cause: dict[tuple[str, str], list[Outcome]] = {}
    for row in order(rows):
        if not look(row.status).is_good:
            cause = row.why or f"{row.host} {row.section} {row.name}"
            by_cause.setdefault((_level(row), cause), []).append(row)
    for (level, _), members in by_cause.items():
        first, count = members[0], len(members)
        named = f"{first.host} {subject(first)}" if count == 1 else f"{count} rows"
        properties = {**places.of(first), "title": f"labrun {command}: {named} {first.status.value}"}
        yield _command(level, properties, _message(members))


def _level(row: Outcome) -> str:
    # What merely differs from the file is for a person to decide; that the check is red says the exit code.
    return "warning" if row.status is Status.WARNING or row.exit_code == Status.DRIFTED.code else "error"


def _message(rows: Sequence[Outcome]) -> str:
    first = rows[0]
    if len(rows) == 1:
        values = f"expected {first.expected or 'nothing'}, got {first.actual or 'nothing'}"
        return f"{first.why}\n{values}" if first.why else values
    lines = [first.why or "", *(f"{row.host} {subject(row)}" for row in rows[:_MOST_NAMED])]
    if len(rows) > _MOST_NAMED:
        lines.append(f"and {len(rows) - _MOST_NAMED} more")
    return "\n".join(lines)


def _command(level: str, properties: Mapping[str, str], message: str) -> str:
    given = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in properties.items())
    return f"::{level} {given}::{_escaped(message)}"


def _escaped(text: str, further: str = "") -> str:
    """Return text in the runner's own encoding, on one line; control characters are spelled out."""
    encoded = printable(text).replace("%", "%25").replace("\n", "%0A")
    for mark in further:
        encoded = encoded.replace(mark, f"%{ord(mark):02X}")
    return encoded
