"""Open a history's file: create it, refuse one that is not a history, set a damaged one aside."""

from __future__ import annotations

import contextlib
import errno
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

HINT = "--history chooses another file"
LONGEST = 32 * 1024 * 1024
"""Size limit of one value in bytes; a run keeps less than this of its hosts."""
BUSY_SECONDS = 5.0
"""How long one writer waits for another, in seconds."""

_MAGIC = b"SQLite format 3\0"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class ForeignFileError(LabrunError):
    """Report a file that does not look like a history. In the state directory it must be a damaged one."""


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether the file itself is at fault, and not the disk, its permissions or another writer."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def open_to_write(path: Path) -> sqlite3.Connection:
    """Return a connection in autocommit mode to the history in this file, creating it if it is missing.

    Raises LabrunError if the file is not a history or its version is too new, sqlite3.Error, OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # SQLite's text would not tell
    if not path.exists():
        # SQLite would create it world-readable.
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
    """Return a read-only connection, None if there is no history yet.

    An older version is migrated first if the file is writable. Raises LabrunError.
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
    """Return the error for a history that cannot be ``done`` (a participle)."""
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        return LabrunError(
            f"the history {path} is damaged: {error}",
            hint="the next run that is recorded sets it aside and starts a new one",
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return LabrunError(f"the history {path} cannot be {done}: {reason}", hint=HINT)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    from urllib.parse import quote  # the import costs more than all of SQLite; writers do without

    name = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{name}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        version_of(connection)
        return connection
    except sqlite3.OperationalError:
        connection.close()
        if Path(f"{path}-wal").exists():
            raise
    # In a read-only directory the index of the WAL cannot be created, and no process writes there.
    return sqlite3.connect(f"{name}?immutable=1", uri=True, isolation_level=None)


def _refuse_newer(path: Path, version: int) -> None:
    if version > VERSION:
        raise LabrunError(
            f"the history {path} was written by a newer labrun:"
            f" version {version}, this one knows up to {VERSION}",
            hint=HINT,
        )


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that cannot be a history: a wrong path must not cost the user a file."""
    if not path.is_file():
        raise LabrunError(f"{path} is not a history: not a regular file", hint=HINT)
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise ForeignFileError(f"{path} is not a history written by labrun", hint=HINT)


def _trust_nothing(connection: sqlite3.Connection) -> None:
    """Keep a foreign file from running functions or filling the memory with a single value."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)


def _refuse_others(path: Path, connection: sqlite3.Connection) -> None:
    # Not from the file's first bytes: recent changes may still be in the WAL beside it. Both values in one
    # query: between two, another run may create the tables and set the application ID.
    owner, tables, programs = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master),"
        " (SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE '%generated%')"
    ).fetchone()
    if owner == APPLICATION and programs:
        # A view in place of a table may run forever, and a trigger may write unexpected data.
        raise ForeignFileError(
            f"{path} is not a history written by labrun: it has views or triggers", hint=HINT
        )
    if owner != APPLICATION and (owner or tables):
        raise LabrunError(f"{path} is a database of another program", hint=HINT)


def is_ours(path: Path) -> bool:
    """Return whether a damaged file was a history, judging by its first bytes."""
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(_MAGIC) and int.from_bytes(head[68:72], "big") == APPLICATION


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that keeps two processes from creating or moving the same file at once."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_aside(path: Path, seen: os.stat_result, *, foreign_too: bool) -> Path | None:
    """Rename a damaged history and return its new name, None if another process did so already.

    ``seen`` is the file that was found damaged. Unless ``foreign_too``, it must have been a history. Raises
    OSError, ForeignFileError.
    """
    with _alone(path):
        try:
            if not os.path.samestat(path.stat(), seen):
                return None
        except FileNotFoundError:
            return None
        # Check only now: before, the path could have held a new file that another process had begun.
        if not foreign_too and not is_ours(path):
            raise ForeignFileError(f"{path} is not a history written by labrun", hint=HINT)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = path.with_name(f"{path.name}.damaged-{stamp}")
        for suffix in ("-wal", "-shm"):
            # The log belongs to this file and would damage a new one.
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        path.rename(aside)
    return aside
