"""Read a lab's history: runs, their outcomes, and when each item was last as declared."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from labrun.errors import LabrunError, UsageError
from labrun.moments import stamp
from labrun.outcome import Outcome, Status, exit_code
from labrun.runner.cli.terminal import say
from labrun.runner.history.paths import history_path
from labrun.runner.history.processes import is_running
from labrun.runner.history.store import HINT, open_to_read, set_aside, unreadable
from labrun.runner.history.values import evidence_of, outcome_of, text, text_or_none, whole
from labrun.state_files import NOT_OURS, WRONG, finite, parse_json
from labrun.state_folders import UnavailableFolderError

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.runner.cli.invocation import Invocation

__all__ = ["History", "Item", "Run", "answer_of", "lab_history", "open_history", "readable_history"]

T = TypeVar("T")

Item = tuple[str, str, str]
"""Host, section and name: the key of an outcome."""

_NOT_OK = [status.value for status in Status if exit_code([Outcome("", "", "", status)])]
_STATUS = [status.value for status in Status]
_OF_ALL = """
    SELECT * FROM runs
    WHERE lab = :lab AND (:since IS NULL OR began >= :since) AND (:command IS NULL OR command = :command)
        AND (NOT :failed OR exit_code IS NULL OR exit_code <> 0)
    ORDER BY id DESC LIMIT :limit
"""
_OF_HOSTS = """
    SELECT * FROM runs
    WHERE lab = :lab AND (:since IS NULL OR began >= :since) AND (:command IS NULL OR command = :command)
        AND id IN (
            SELECT run FROM outcomes
            WHERE item IN (SELECT id FROM items WHERE host IN (SELECT value FROM json_each(:hosts)))
                AND status IN (SELECT value FROM json_each(:statuses))
        )
    ORDER BY id DESC LIMIT :limit
"""
_BACK = """
    SELECT * FROM runs WHERE lab = :lab AND (:command = 'last' OR command = :command)
    ORDER BY id DESC LIMIT 1 OFFSET :back
"""
_NAMED = r"""
    SELECT * FROM runs WHERE lab = :lab AND (run LIKE :begins ESCAPE '\' OR run LIKE :ends ESCAPE '\')
    ORDER BY id DESC LIMIT 4
"""
_LAST = """
    SELECT * FROM runs
    WHERE lab = :lab AND command = :command AND exit_code IS NOT NULL AND NOT interrupted
        AND (:uri IS NULL OR uri = :uri)
        AND id > (SELECT coalesce(max(id), 0) FROM runs WHERE lab = :lab AND removed_lab)
        AND (exit_code NOT IN (2, 5) OR EXISTS (SELECT 1 FROM outcomes WHERE run = runs.id))
    ORDER BY id DESC LIMIT 1
"""
_LAST_OF_EACH = """
    SELECT * FROM runs
    WHERE id IN (SELECT max(id) FROM runs WHERE lab = :lab AND exit_code IS NOT NULL GROUP BY command)
    ORDER BY id DESC
"""
_LAST_WITH = """
    SELECT host, section, name, began FROM (
        SELECT item, max(run) AS latest FROM outcomes
        WHERE status IN (SELECT value FROM json_each(:statuses))
            AND run IN (
                SELECT id FROM runs
                WHERE lab = :lab
                    AND id > (SELECT coalesce(max(id), 0) FROM runs WHERE lab = :lab AND removed_lab)
            )
        GROUP BY item
    ) JOIN items ON items.id = item JOIN runs ON runs.id = latest
"""
_OF_AN_ITEM = """
    SELECT status, began FROM outcomes JOIN items ON items.id = item JOIN runs ON runs.id = outcomes.run
    WHERE host = :host AND section = :section AND name = :name AND runs.lab = :lab
        AND runs.id > (SELECT coalesce(max(id), 0) FROM runs WHERE lab = :lab AND removed_lab)
    ORDER BY runs.id DESC LIMIT :limit
"""
_BY_PLACE = re.compile(r"(?:(?P<word>[a-z]+)(?:-(?P<back>\d{1,9}))?|-(?P<count>\d{1,9}))")


@dataclass(frozen=True, slots=True)
class Run:
    """One run; ``number`` is its key in the history, ``began`` in seconds since the epoch.

    ``seconds`` and ``exit_code`` are None for an unfinished run; ``is_running`` tells whether it may still
    be in progress. ``counts`` is the number of outcomes by status.
    """

    number: int
    run: str
    lab: str
    command: str
    arguments: str
    digest: str | None
    labrun: str
    uri: str | None
    began: float
    seconds: float | None
    exit_code: int | None
    interrupted: bool
    error: str | None
    counts: Mapping[str, int]
    versions: Mapping[str, str]
    is_running: bool

    @property
    def when(self) -> str:
        """Return the start time, as ``2026-11-20T16:00:00Z``."""
        return stamp(self.began)

    @property
    def state(self) -> str:
        """Return ``finished``, ``interrupted``, ``running``, or ``unfinished`` if it was cut off."""
        if self.exit_code is None:
            return "running" if self.is_running else "unfinished"
        return "interrupted" if self.interrupted else "finished"

    def as_json(self) -> JsonObject:
        """Return the run as in JSON documents."""
        return {
            "run": self.run,
            "lab": self.lab,
            "command": self.command,
            "arguments": self.arguments,
            "lab_file": self.digest,
            "labrun": self.labrun,
            "versions": dict(self.versions),
            "hypervisor": self.uri,
            "began": self.when,
            "seconds": self.seconds,
            "exit_code": self.exit_code,
            "state": self.state,
            "error": self.error,
            "counts": dict(self.counts),
        }


def open_history(path: Path, lab: str, *, movable: bool = False) -> History | None:
    """Return the lab's part of the history in this file, None without one. Raises LabrunError.

    ``movable`` marks a file from the state directory, not one given by the user: it is set aside if its
    content was not written by labrun.
    """
    connection = open_to_read(path)
    return None if connection is None else History(connection, path, lab, movable=movable)


def lab_history(invocation: Invocation, lab: str) -> History | None:
    """Return the lab's history, None if there is none. Raises LabrunError."""
    return open_history(history_path(invocation, lab), lab, movable=invocation.history is None)


def readable_history(invocation: Invocation, lab: str) -> History | None:
    """Return the lab's history, None if there is none. One that cannot be read is reported on stderr."""
    try:
        return lab_history(invocation, lab)
    except UnavailableFolderError:
        return None
    except LabrunError as error:
        say(error.reason)
        return None


def answer_of(history: History | None, ask: Callable[[History], T], otherwise: T) -> T:
    """Return the answer of the history; ``otherwise`` without one, or, after a message, if it is damaged."""
    if history is None:
        return otherwise
    try:
        return ask(history)
    except LabrunError as error:
        say(error.reason)
        return otherwise


class History:
    """The recorded runs of one lab. Every method raises LabrunError if the file is damaged."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, lab: str, *, movable: bool = False
    ) -> None:
        self.path = path
        self._movable = movable
        self.lab = lab
        self._connection = connection
        connection.row_factory = sqlite3.Row

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise unreadable(self.path, error) from error
        except (zlib.error, *WRONG) as error:
            raise self._not_ours() from error

    def _not_ours(self) -> LabrunError:
        damage = f"the history {self.path} is damaged: {NOT_OURS}"
        if not self._movable:
            return LabrunError(damage, hint=HINT)
        self._connection.close()
        try:
            aside = set_aside(self.path, self.path.stat(), foreign_too=True)
        except OSError as error:
            return LabrunError(f"{damage}, and cannot be set aside: {error.strerror}", hint=HINT)
        name = aside.name if aside is not None else "set aside"
        return LabrunError(
            f"the history {self.path} was damaged: it was renamed to {name}, and a new one is started"
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _runs(self, query: str, **values: object) -> list[Run]:
        with self._reading() as connection:
            return [_run(row) for row in connection.execute(query, {"lab": self.lab, **values})]

    def runs(
        self,
        *,
        hosts: Sequence[str] = (),
        since: float | None = None,
        failed: bool = False,
        command: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Return runs, newest first: those on one of ``hosts`` that began after ``since`` (epoch seconds).

        ``failed`` selects runs that are unfinished or have an exit code other than 0. Together with
        ``hosts`` it selects runs in which one of these hosts was not ok.
        """
        bounds = {"since": since, "command": command, "limit": limit or -1}
        if hosts:
            statuses = _NOT_OK if failed else _STATUS
            return self._runs(_OF_HOSTS, hosts=json.dumps(hosts), statuses=json.dumps(statuses), **bounds)
        return self._runs(_OF_ALL, failed=failed, **bounds)

    def find(self, word: str) -> Run:
        """Return the run that ``word`` refers to.

        This is its ID, a prefix or the last letters of it; ``last``, a command's name for its last run,
        ``last-1`` for the one before, ``-1`` for the last. Raises UsageError.
        """
        place = _BY_PLACE.fullmatch(word)
        if place is not None:
            command, back = place["word"], int(place["back"] or 0)
            if place["count"] is not None:
                command, back = "last", int(place["count"]) - 1
            runs = self._runs(_BACK, command=command, back=max(back, 0))
            if runs:
                return runs[0]
        escaped = re.sub(r"([%_\\])", r"\\\1", word)
        runs = self._runs(_NAMED, begins=f"{escaped}%", ends=f"%-{escaped}")
        if not runs or not word:
            raise UsageError(f'there is no run "{word}"', step="RUN", hint="`labrun history` lists them")
        if len(runs) > 1:
            some = ", ".join(run.run for run in runs[:3]) + (" ..." if len(runs) > 3 else "")
            raise UsageError(f'"{word}" may be {some}', step="RUN", hint="give more of its characters")
        return runs[0]

    def outcomes(self, run: Run) -> tuple[Outcome, ...]:
        """Return the run's outcomes in the order they were reported."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT host, section, name, status, expected, actual, why, diff, seconds,"
                " target, family, network, blamed, fault, by_hand"
                " FROM outcomes JOIN items ON items.id = item WHERE run = ? ORDER BY position",
                (run.number,),
            ).fetchall()
            return tuple(outcome_of(row) for row in rows)

    def evidence(self, run: Run) -> dict[str, str]:
        """Return each host's output in the run, by host; empty if no evidence is kept."""
        with self._reading() as connection:
            row = connection.execute("SELECT content FROM evidence WHERE run = ?", (run.number,)).fetchone()
            return {} if row is None else evidence_of(row[0])

    def last(self, command: str, *, uri: str | None = None) -> Run | None:
        """Return the command's last finished run since the lab was last removed, None without one.

        One that ended in an error before it looked at anything does not count.
        ``uri`` restricts this to runs on that hypervisor.
        """
        runs = self._runs(_LAST, command=command, uri=uri or None)
        return runs[0] if runs else None

    def last_of_each(self) -> dict[str, Run]:
        """Return each command's last finished run, by command, newest first."""
        return {run.command: run for run in self._runs(_LAST_OF_EACH)}

    def last_ok(self) -> dict[Item, float]:
        """Return, by item, the start of the last run that found it as declared or made it so.

        In seconds since the epoch; only since the lab was last removed.
        """
        parameters = {"lab": self.lab, "statuses": json.dumps(["ok", "changed"])}
        with self._reading() as connection:
            rows = connection.execute(_LAST_WITH, parameters)
            return {
                (text(host), text(section), text(name)): finite(began) for host, section, name, began in rows
            }

    def statuses(self, item: Item, limit: int) -> list[tuple[str, float]]:
        """Return an item's last statuses since the lab was last removed, newest first, each with its time."""
        host, section, name = item
        values = {"lab": self.lab, "host": host, "section": section, "name": name, "limit": limit}
        with self._reading() as connection:
            return [(text(row[0]), finite(row[1])) for row in connection.execute(_OF_AN_ITEM, values)]


def _run(row: sqlite3.Row) -> Run:
    code, seconds, process = row["exit_code"], row["seconds"], text(row["process"])
    return Run(
        number=whole(row["id"]),
        run=text(row["run"]),
        lab=text(row["lab"]),
        command=text(row["command"]),
        arguments=text(row["arguments"]),
        digest=text_or_none(row["digest"]),
        labrun=text(row["labrun"]),
        uri=text_or_none(row["uri"]),
        began=finite(row["began"]),
        seconds=None if seconds is None else finite(seconds),
        exit_code=None if code is None else whole(code),
        interrupted=bool(whole(row["interrupted"])),
        error=text_or_none(row["error"]),
        counts={text(status): whole(number) for status, number in parse_json(row["counts"]).items()},
        versions={text(name): text(number) for name, number in parse_json(row["versions"]).items()},
        is_running=code is None and is_running(process),
    )
