"""Entries with fields for systemd's journal, where labrun's output goes there."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ERROR", "INFO", "NOTICE", "SOCKET", "WARNING", "encoded", "is_journal", "log_entry"]

SOCKET = Path("/run/systemd/journal/socket")
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # PRIORITY, as syslog counts


def is_journal(stream: str | None = None) -> bool:
    """Tell whether stdout or stderr is the stream that systemd names in JOURNAL_STREAM."""
    named = os.environ.get("JOURNAL_STREAM", "") if stream is None else stream
    for file in (sys.stderr, sys.stdout):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            status = os.fstat(file.fileno())
            if named == f"{status.st_dev}:{status.st_ino}":
                return True
    return False


def encoded(fields: Mapping[str, str | int]) -> bytes:
    """Return an entry as the journal's native protocol has it; a value of several lines has its length."""
    parts = []
    for name, value in fields.items():
        data = str(value).encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def log_entry(fields: Mapping[str, str | int], path: Path = SOCKET) -> None:
    """Send one entry; a journal that is not there or takes nothing is nobody's error."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(1.0)
        out.sendto(encoded({**fields, "SYSLOG_IDENTIFIER": "labrun"}), str(path))
