"""Log a drift run to systemd's journal if labrun's output goes there: one entry for it, one per change."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from labrun.outcome import Outcome
from labrun.runner.cli.document import reason_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import printable
from labrun.runner.views.table import summary
from labrun.runner.watching.state import Change, Key

__all__ = ["ERROR", "INFO", "NOTICE", "SOCKET", "WARNING", "encoded", "entries", "is_journal", "log_entry"]

SOCKET = Path("/run/systemd/journal/socket")
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6  # PRIORITY, as in syslog
_PRIORITIES = {0: INFO, 3: WARNING}
# An entry is one datagram, whose size the kernel limits: what a guest says must not keep it from arriving.
_LONGEST = 4096


def is_journal(stream: str | None = None) -> bool:
    """Return whether stdout or stderr is the stream that systemd names in JOURNAL_STREAM."""
    journal = os.environ.get("JOURNAL_STREAM", "") if stream is None else stream
    for file in (sys.stderr, sys.stdout):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            status = os.fstat(file.fileno())
            if journal == f"{status.st_dev}:{status.st_ino}":
                return True
    return False


def encoded(fields: Mapping[str, str | int]) -> bytes:
    """Return an entry in the journal's native protocol. A multi-line value is preceded by its length."""
    parts = []
    for name, value in fields.items():
        data = str(value).encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def log_entry(fields: Mapping[str, str | int], path: Path = SOCKET) -> None:
    """Send one entry. A journal that is missing or refuses it is not an error."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(1.0)
        out.sendto(encoded({**fields, "SYSLOG_IDENTIFIER": "labrun"}), str(path))


def entries(
    report: Report, invocation: Invocation, lab: str, changes: Sequence[Change]
) -> Iterator[dict[str, str | int]]:
    """Yield the fields of each entry. All include those of the lab and the run."""
    shared: dict[str, str | int] = {"LABRUN_LAB": lab, "LABRUN_RUN": invocation.run}
    rows = {(row.host, row.section, row.name): row for row in report.outcomes}
    for change in changes:
        yield {**shared, **_of_change(lab, change, rows.get(change.key))}
    if report.error is not None:
        message = reason_of(report.error)
    else:
        message = summary(report.outcomes, invocation.seconds)
    yield {
        "MESSAGE": _in_line(f"{lab}: {message}"),
        "PRIORITY": _PRIORITIES.get(report.exit_code, ERROR),
        **shared,
        "LABRUN_EXIT_CODE": report.exit_code,
    }


def _of_change(lab: str, change: Change, row: Outcome | None) -> dict[str, str | int]:
    host, section, name = change.key
    fields: dict[str, str | int] = {
        "MESSAGE": _in_line(f"{lab}: {_what(change.key)}: {change.after or 'ok'}{_seen(row)}"),
        "PRIORITY": WARNING if change.after is not None else NOTICE,
        "LABRUN_HOST": host,
        "LABRUN_SECTION": section,
        "LABRUN_NAME": _in_line(name),
        "LABRUN_STATUS": change.after or "ok",
    }
    return {**fields, "LABRUN_BEFORE": change.before or "ok"}


def _in_line(text: str) -> str:
    """Return text of a guest as one bounded line: journalctl shows what has control characters as a blob."""
    line = printable(text[:_LONGEST]).replace("\n", " ")
    return line if len(line) < _LONGEST else line[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _what(key: Key) -> str:
    host, section, name = key
    return f"{host}: {section} {name}" if name not in (section, host) else f"{host}: {section}"


def _seen(row: Outcome | None) -> str:
    if row is None or row.expected is None:
        return ""
    return f" (expected {row.expected}, got {row.actual})"
