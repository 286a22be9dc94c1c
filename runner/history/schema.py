"""The tables of a history and the migrations from older versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

__all__ = ["APPLICATION", "MIGRATIONS", "VERSION", "migrate", "version_of"]

APPLICATION = 0x6C616272
"""The application ID in the file's header: ``labr``."""

# One entry per version: the statements that migrate from the previous one. Never change a released entry.
MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            run TEXT NOT NULL,
            lab TEXT NOT NULL,
            command TEXT NOT NULL,
            arguments TEXT NOT NULL,
            digest TEXT,
            labrun TEXT NOT NULL,
            uri TEXT,
            process TEXT NOT NULL,
            began REAL NOT NULL,
            seconds REAL,
            exit_code INTEGER,
            interrupted INTEGER NOT NULL DEFAULT 0,
            removed_lab INTEGER NOT NULL DEFAULT 0,
            error TEXT,
            counts TEXT NOT NULL DEFAULT '{}'
        )
        """,
        "CREATE INDEX runs_of_a_lab ON runs (lab, id)",
        "CREATE INDEX runs_by_name ON runs (run)",
        """
        CREATE TABLE items (
            id INTEGER PRIMARY KEY,
            host TEXT NOT NULL,
            section TEXT NOT NULL,
            name TEXT NOT NULL,
            UNIQUE (host, section, name)
        )
        """,
        """
        CREATE TABLE outcomes (
            run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            item INTEGER NOT NULL REFERENCES items (id),
            status TEXT NOT NULL,
            expected TEXT,
            actual TEXT,
            why TEXT,
            diff TEXT,
            seconds REAL NOT NULL,
            PRIMARY KEY (run, position)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX outcomes_of_an_item ON outcomes (item, status, run)",
        """
        CREATE TABLE evidence (
            run INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            content BLOB NOT NULL
        )
        """,
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    ),
    ("ALTER TABLE runs ADD COLUMN versions TEXT NOT NULL DEFAULT '{}'",),
    # The subject of a row and the host it blames. Older rows encoded both in name and reason; they are parsed
    # here, once, so that no other code needs to know the old format.
    (
        "ALTER TABLE outcomes ADD COLUMN target TEXT",
        "ALTER TABLE outcomes ADD COLUMN family INTEGER",
        "ALTER TABLE outcomes ADD COLUMN network TEXT",
        "ALTER TABLE outcomes ADD COLUMN blamed TEXT",
        # In one pass: a history may have several hundred thousand rows.
        """
        UPDATE outcomes SET
            network = iif(items.section = 'address' AND items.name <> items.host, items.name, NULL),
            target = iif(
                items.section = 'path'
                    AND substr(items.name, 1, length(items.host) + 4) = items.host || ' -> ',
                replace(substr(items.name, length(items.host) + 5), ' (IPv6)', ''),
                NULL
            ),
            family = iif(items.section = 'path', iif(items.name LIKE '% (IPv6)', 6, 4), NULL),
            blamed = iif(
                items.section <> 'address'
                    AND substr(why, 1, instr(why, ':') - 1) IN (SELECT host FROM items),
                substr(why, 1, instr(why, ':') - 1),
                NULL
            )
        FROM items WHERE items.id = item AND items.section IN ('address', 'path', 'check')
        """,
    ),
    # What a row that is not ok follows from, and how to mend it by hand, as JSON.
    ("ALTER TABLE outcomes ADD COLUMN fault TEXT", "ALTER TABLE outcomes ADD COLUMN by_hand TEXT"),
)
VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the tables, 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Migrate the tables to the newest version in one transaction.

    The connection is in autocommit mode. Tables that are current, or newer, are left unchanged.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number, statements in enumerate(migrations[version_of(connection) :], version_of(connection) + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
