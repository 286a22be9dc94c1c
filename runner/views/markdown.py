"""Results as Markdown for the job summary of a CI system: the causes first, all rows folded."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from labrun.outcome import Outcome
from labrun.runner.cli.terminal import printable
from labrun.runner.views.cause_text import breaks, by_hand, headline
from labrun.runner.views.causes import Cause, causes
from labrun.runner.views.matrix import LEGEND, Matrix, matrices
from labrun.runner.views.status_look import look
from labrun.runner.views.table import order, subject, summary

__all__ = ["LIMIT", "markdown"]

LIMIT = 900_000
"""Size limit in bytes. GitHub allows 1 MiB per step and drops a larger job summary entirely."""

_LONGEST_ERROR = 10_000  # characters
_WIDEST = 30  # hosts; a wider matrix is unreadable in a browser


def markdown(
    lab: str,
    command: str,
    hosts: Sequence[str],
    rows: Sequence[Outcome],
    seconds: float,
    *,
    ok: bool,
    error: str = "",
    existing: Collection[str] = (),
) -> str:
    """Return the summary. Rows that do not fit into :data:`LIMIT` are left out and counted.

    ``error`` is the reason why the command ended early, empty if it did not; ``existing`` as for causes.
    """
    found = summary(rows, seconds) if rows or not error else ""
    ended = f"**{_cell(error[:_LONGEST_ERROR])}**" if error else ""
    title = f"labrun {command}: {_cell(lab)}" if lab else f"labrun {command}"
    head = "\n\n".join(filter(None, (f"## {title}: {'ok' if ok else 'not ok'}", ended, found))) + "\n"
    ordered = order(rows)
    wrong = [row for row in ordered if not look(row.status).is_good]
    parts = [head]
    if wrong:
        parts.append(_causes(causes(wrong, existing), LIMIT // 4))
        parts.append(_folded(f"{len(wrong)} results that need attention", _table(wrong, LIMIT // 4)))
    tables = [matrix for matrix in matrices(hosts, rows) if matrix.cells and len(hosts) <= _WIDEST]
    parts.extend(_folded(_matrix_title(matrix, len(tables)), _matrix(matrix)) for matrix in tables)
    if rows:
        room = LIMIT - sum(len(part.encode()) for part in parts)
        parts.append(_folded(f"All {len(rows)} results", _table(ordered, room - 1000)))
    return "\n".join(parts)


def _causes(found: Sequence[Cause], room: int) -> str:
    lines = [f"**{len(found)} cause{'' if len(found) == 1 else 's'}**\n"]
    used = 0
    for number, cause in enumerate(found):
        block = [f"- <code>{look(cause.status).sign}</code> {_cell(headline(cause))}"]
        parts = (("breaks", breaks(cause)), *(("by hand", line) for line in by_hand(cause)))
        for label, text in (*parts, ("labrun", cause.labrun)):
            code = _cell(text) if label == "breaks" else f"<code>{_cell(text)}</code>"
            block += [f"  - {label}: {code}"] if text else []
        used += sum(len(line.encode()) + 1 for line in block)
        if used > room:
            lines.append(f"\n{len(found) - number} more causes are left out here.")
            break
        lines += block
    return "\n".join(lines) + "\n"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n</details>\n"


def _table(rows: Sequence[Outcome], room: int) -> str:
    lines = ["| | host | what | expected | got | why |", "|---|---|---|---|---|---|"]
    used = 0
    for number, row in enumerate(rows):
        cells = (row.host, subject(row), row.expected, row.actual, row.why)
        line = f"| {look(row.status).sign} {row.status.value} | " + " | ".join(map(_cell, cells)) + " |"
        used += len(line.encode()) + 1
        if used > room:
            lines.append(f"\n{len(rows) - number} more rows are left out here.")
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _matrix_title(matrix: Matrix, count: int) -> str:
    return "Who reaches whom" + (f" (IPv{matrix.version})" if count > 1 else "")


def _matrix(matrix: Matrix) -> str:
    lines = [
        "| from \\ to | " + " | ".join(_cell(host) for host in matrix.hosts) + " |",
        "|---" * (len(matrix.hosts) + 1) + "|",
    ]
    for source in matrix.sources:
        marks = (_cell(matrix.mark(source, target)) for target in matrix.hosts)
        lines.append(f"| **{_cell(source)}** | " + " | ".join(marks) + " |")
    meaning = "; ".join(f"{_cell(mark)} {what}" for mark, what in LEGEND.items())
    return "\n".join([*lines, "", meaning]) + "\n"


def _cell(text: str | None) -> str:
    """Return text that cannot end a cell or become markup. Line breaks are kept."""
    spelled = printable(text or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Also escape what starts links, mentions and emphasis: the text comes from guests.
    escaped = re.sub(r"[\\`*_\[\]|~@]", lambda match: f"&#{ord(match[0])};", spelled)
    return escaped.replace("\n", "<br>")
