"""Write runs to a history: their start, their end, and the pruning of old ones."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from labrun import __version__
from labrun.outcome import Fault, Outcome, Pair, Subject
from labrun.runner.history.processes import this_process
from labrun.runner.history.redaction import redacted

__all__ = [
    "EVIDENCE_RUNS",
    "KEEP_DAYS",
    "KEEP_RUNS",
    "RUN_BYTES",
    "Beginning",
    "Ending",
    "begin",
    "finish",
    "has_begun",
    "keep",
    "kept",
    "pack",
    "prune",
]

KEEP_RUNS = 1000
KEEP_DAYS = 365
EVIDENCE_RUNS = 100
"""Number of a lab's newest runs that keep their evidence. Older runs keep only their outcomes."""

_DROP_RUNS = """
    DELETE FROM runs WHERE lab = :lab
        AND id <= (SELECT id FROM runs WHERE lab = :lab ORDER BY id DESC LIMIT 1 OFFSET :kept)
"""
_DROP_EVIDENCE = """
    DELETE FROM evidence WHERE run IN (
        SELECT id FROM runs WHERE lab = :lab
            AND id <= (SELECT id FROM runs WHERE lab = :lab ORDER BY id DESC LIMIT 1 OFFSET :kept)
    )
"""
_HOST_BYTES = 256 * 1024
RUN_BYTES = 8 * 1024 * 1024
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Beginning:
    """The data known when a run begins; ``began`` in seconds since the epoch."""

    run: str
    lab: str
    command: str
    arguments: str
    digest: str | None
    began: float


@dataclass(frozen=True, slots=True)
class Ending:
    """The result of a run; ``evidence`` is the collected output by host.

    ``removed_lab`` means that the run removed the lab, so earlier findings do not apply to the next one.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    exit_code: int
    interrupted: bool = False
    removed_lab: bool = False
    error: str | None = None
    uri: str | None = None
    evidence: Mapping[str, str] | None = None


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # A full disk may already have ended the transaction.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def begin(connection: sqlite3.Connection, run: Beginning) -> int:
    """Insert an unfinished run and return its number in this history. Raises sqlite3.Error."""
    values = (run.run, run.lab, run.command, _clean(run.arguments), run.digest)
    with _transaction(connection):
        cursor = connection.execute(
            "INSERT INTO runs (run, lab, command, arguments, digest, labrun, process, began)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, __version__, this_process(), run.began),
        )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def has_begun(connection: sqlite3.Connection, number: int, run: Beginning) -> bool:
    """Return whether this run has that number in this history."""
    parameters = (number, run.run, run.lab)
    return (
        connection.execute("SELECT 1 FROM runs WHERE id = ? AND run = ? AND lab = ?", parameters).fetchone()
        is not None
    )


def finish(connection: sqlite3.Connection, number: int, ending: Ending) -> None:
    """Write a run's end, outcomes and evidence in one transaction, and prune. Raises sqlite3.Error."""
    rows = list(ending.outcomes)
    counts = Counter(row.status.value for row in rows)
    packed = pack(ending.evidence) if ending.evidence else None
    with _transaction(connection):
        connection.execute(
            "UPDATE runs SET seconds = ?, exit_code = ?, interrupted = ?, removed_lab = ?, error = ?,"
            " uri = ?, counts = ?, versions = ? WHERE id = ?",
            (
                round(ending.seconds, 3),
                ending.exit_code,
                int(ending.interrupted),
                int(ending.removed_lab),
                None if ending.error is None else _clean(ending.error),
                ending.uri,
                json.dumps(counts),
                json.dumps(_versions()),
                number,
            ),
        )
        _insert(connection, number, rows)
        if packed is not None:
            connection.execute("INSERT INTO evidence (run, content) VALUES (?, ?)", (number, packed))
        prune(connection, number)


def _versions() -> dict[str, str]:
    """Return the versions of the software that the run used."""
    versions = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    # A thread may still import it; a run that had no use for it so far does not wait for that.
    version = getattr(sys.modules.get("libvirt"), "getVersion", None)
    if version is not None:
        number = version()
        versions["libvirt"] = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
    return versions


def _insert(connection: sqlite3.Connection, number: int, rows: Sequence[Outcome]) -> None:
    items = [(row.host, row.section, _clean(row.name)) for row in rows]
    connection.executemany("INSERT OR IGNORE INTO items (host, section, name) VALUES (?, ?, ?)", items)
    connection.executemany(
        "INSERT INTO outcomes (run, position, item, status, expected, actual, why, diff, seconds,"
        " target, family, network, blamed, fault, by_hand)"
        " SELECT ?, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
        " FROM items WHERE host = ? AND section = ? AND name = ?",
        [
            (
                number,
                position,
                row.status.value,
                *(None if text is None else _clean(text) for text in _texts(row)),
                round(row.seconds, 3),
                *_about(row.subject),
                row.blamed,
                _fault(row.fault),
                _commands(row.by_hand),
                *item,
            )
            for position, (row, item) in enumerate(zip(rows, items, strict=True))
        ],
    )


def _about(subject: Subject | None) -> tuple[str | None, int | None, str | None]:
    """Return the target, IP version and NIC of a row's subject. The host is part of its item."""
    if isinstance(subject, Pair):
        return subject.target, subject.family, None
    return None, None, subject.name if subject is not None else None


@lru_cache(maxsize=4096)
def _fault(fault: Fault | None) -> str | None:
    if fault is None:
        return None
    texts = (fault.host, _clean(fault.what), fault.section, _clean(fault.name))
    return json.dumps([*texts, [_clean(line) for line in fault.by_hand]])


def _commands(lines: Sequence[str]) -> str | None:
    return json.dumps([_clean(line) for line in lines]) if lines else None


@lru_cache(maxsize=4096)  # the rows of fifty hosts largely repeat each other
def _clean(text: str) -> str:
    """Return the text without secrets and without characters that SQLite cannot store as text."""
    return redacted(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _texts(row: Outcome) -> tuple[str | None, ...]:
    return (row.expected, row.actual, row.why, row.diff)


def pack(evidence: Mapping[str, str]) -> bytes:
    """Return the hosts' output, redacted and compressed. Output that is too long is cut and marked so."""
    left = RUN_BYTES
    kept: dict[str, str] = {}
    for host, text in evidence.items():
        bound = min(_HOST_BYTES, left)
        # To find the secrets of what is not kept takes seconds on thousands of hosts.
        clean = redacted(text) if bound else text
        kept[host] = clean if len(clean) <= bound else f"{clean[:bound]}\n(cut off after {bound} characters)"
        left = max(0, left - len(clean))
    return zlib.compress(json.dumps(kept).encode("ascii"), 6)


def kept(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the retention of a lab's history as a number of runs and of days, 0 = unlimited."""
    settings = dict(connection.execute("SELECT name, value FROM settings").fetchall())
    return int(settings.get("keep_runs", KEEP_RUNS)), int(settings.get("keep_days", KEEP_DAYS))


def keep(connection: sqlite3.Connection, *, runs: int | None = None, days: int | None = None) -> int:
    """Set the retention, None = unchanged. Return how many runs were pruned. Raises sqlite3.Error."""
    with _transaction(connection):
        for name, value in (("keep_runs", runs), ("keep_days", days)):
            if value is not None:
                connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
        pruned = prune(connection)
    if pruned:
        # Return the space to the filesystem. If there is no room for that, later runs reuse the free pages.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
    return pruned


def prune(connection: sqlite3.Connection, newest: int | None = None) -> int:
    """Drop runs beyond the retention, in the open transaction. Return how many.

    ``newest`` is a run that is kept whatever its age.
    """
    runs, days = kept(connection)
    spared = -1 if newest is None else newest
    pruned = 0
    if days:
        oldest = time.time() - days * _DAY
        pruned += connection.execute(
            "DELETE FROM runs WHERE began < ? AND id <> ?", (oldest, spared)
        ).rowcount
    for (lab,) in connection.execute("SELECT DISTINCT lab FROM runs").fetchall():
        if runs:
            pruned += connection.execute(_DROP_RUNS, {"lab": lab, "kept": runs}).rowcount
        connection.execute(_DROP_EVIDENCE, {"lab": lab, "kept": EVIDENCE_RUNS})
    if pruned:
        connection.execute(
            "DELETE FROM items WHERE NOT EXISTS (SELECT 1 FROM outcomes WHERE item = items.id)"
        )
    return pruned
