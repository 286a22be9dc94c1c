"""Opening a history's file: making it, refusing what is not a history, setting a damaged one aside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labrun.errors import LabrunError
from labrun.runner.history.schema import APPLICATION, VERSION, migrate, version_of

__all__ = [
    "BUSY_SECONDS",
    "HINT",
    "LONGEST",
    "ForeignFileError",
    "is_damaged",
    "is_ours",
    "open_to_read",
    "open_to_write",
    "set_aside",
    "unreadable",
]

HINT = "--history names another file"
LONGEST = 32 * 1024 * 1024
"""Bytes of one value; what a run keeps of its hosts is less."""
BUSY_SECONDS = 5.0
"""How long one writer waits for another."""

_MAGIC = b"SQLite format 3\0"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class ForeignFileError(LabrunError):
    """Report a file that does not look like a history; in the state directory it must be a damaged one."""


def is_damaged(error: sqlite3.Error) -> bool:
    """Tell whether the file itself is at fault, and not its disk, its rights or another writer."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def open_to_write(path: Path) -> sqlite3.Connection:
    """Return a connection in autocommit mode to the history in this file, made where it is missing.

    Raises LabrunError where the file is something else or too new, sqlite3.Error, OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # SQLite would make it readable for everybody.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    _refuse_foreign(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        _trust_nothing(connection)
        _refuse_others(path, connection)
        if version_of(connection) < VERSION:
            with _alone(path):
                connection.execute("PRAGMA journal_mode = WAL")
                migrate(connection)
        _refuse_newer(path, version_of(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection | None:
    """Return a connection that can only read, None where there is no history yet.

    An older version is brought up to date first where the file can be written. Raises LabrunError.
    """
    try:
        if not path.exists():
            return None
        _refuse_foreign(path)
        connection = _connect_to_read(path)
        version = version_of(connection)
        if 0 < version < VERSION:
            connection.close()
            open_to_write(path).close()
            connection = _connect_to_read(path)
        _trust_nothing(connection)
        _refuse_others(path, connection)
        _refuse_newer(path, version)
    except (sqlite3.Error, OSError) as error:
        raise unreadable(path, error) from error
    if version == 0:
        connection.close()
        return None
    return connection


def unreadable(path: Path, error: Exception, done: str = "read") -> LabrunError:
    """Return what to tell of a history that cannot be read, or ``done`` otherwise."""
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        return LabrunError(
            f"the history {path} is damaged: {error}",
            hint="the next run that is recorded sets it aside and begins a new one",
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return LabrunError(f"the history {path} cannot be {done}: {reason}", hint=HINT)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    from urllib.parse import quote  # costs more than all of SQLite; who only writes does without

    name = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{name}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        version_of(connection)
        return connection
    except sqlite3.OperationalError:
        connection.close()
        if Path(f"{path}-wal").exists():
            raise
    # In a directory that cannot be written the index of the log cannot be made; nobody writes there.
    return sqlite3.connect(f"{name}?immutable=1", uri=True, isolation_level=None)


def _refuse_newer(path: Path, version: int) -> None:
    if version > VERSION:
        raise LabrunError(
            f"the history {path} is of a newer labrun: version {version}, this one knows {VERSION}",
            hint=HINT,
        )


def _refuse_foreign(path: Path) -> None:
    """Refuse what cannot be a history: whoever names a wrong file shall not lose it."""
    if not path.is_file():
        raise LabrunError(f"{path} is not a history: no regular file", hint=HINT)
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise ForeignFileError(f"{path} is not a history of labrun's", hint=HINT)


def _trust_nothing(connection: sqlite3.Connection) -> None:
    """Keep a file of somebody else's from running functions, or from filling the memory with one value."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)


def _refuse_others(path: Path, connection: sqlite3.Connection) -> None:
    # Not out of the file's first bytes: what is new may still be in the log beside it.
    # Both as of one moment: between two, another run may make the tables and write whose they are.
    owner, tables, programs = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master),"
        " (SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE '%generated%')"
    ).fetchone()
    if owner == APPLICATION and programs:
        # A view in a table's place may take for ever, a trigger write what nobody asked for.
        raise ForeignFileError(f"{path} is not a history of labrun's: it has views or triggers", hint=HINT)
    if owner != APPLICATION and (owner or tables):
        raise LabrunError(f"{path} is a database of another program", hint=HINT)


def is_ours(path: Path) -> bool:
    """Tell from the first bytes of a damaged file whether it was a history."""
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(_MAGIC) and int.from_bytes(head[68:72], "big") == APPLICATION


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold what keeps two processes from making or moving the same file at once."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_aside(path: Path, seen: os.stat_result, *, whoever: bool) -> Path | None:
    """Rename a damaged history and return its new name, None where somebody else has done so already.

    ``seen`` is the file that was found damaged; unless ``whoever``, it has to have been a history.
    Raises OSError, ForeignFileError.
    """
    with _alone(path):
        try:
            if not os.path.samestat(path.stat(), seen):
                return None
        except FileNotFoundError:
            return None
        # Only now: before, it could have been the new file that somebody else has begun.
        if not whoever and not is_ours(path):
            raise ForeignFileError(f"{path} is not a history of labrun's", hint=HINT)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = path.with_name(f"{path.name}.damaged-{stamp}")
        for suffix in ("-wal", "-shm"):
            # The log belongs to this file: a new one would be damaged by it.
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        path.rename(aside)
    return aside
