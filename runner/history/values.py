"""Check the column values of a history, which may be a foreign file: the expected type, or an error."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping

from labrun.outcome import Family, Fault, Nic, Outcome, Pair, Status, Subject
from labrun.runner.history.store import LONGEST
from labrun.state_files import finite, parse_json

__all__ = ["evidence_of", "outcome_of", "text", "text_or_none", "whole"]

_STATUS = {status.value: status for status in Status}
_ESCAPED = 2  # JSON spells some characters with more bytes


def text(value: object) -> str:
    """Return the text. Raises TypeError for any other value."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def text_or_none(value: object) -> str | None:
    """Return the text or None. Raises TypeError for any other value."""
    return None if value is None else text(value)


def whole(value: object) -> int:
    """Return the integer. Raises TypeError for any other value."""
    if not isinstance(value, int):
        raise TypeError("not an integer")
    return value


_FAMILY: Mapping[int, Family] = {4: 4, 6: 6}


def _subject(row: sqlite3.Row) -> Subject | None:
    if row["target"] is not None:
        return Pair(text(row["host"]), text(row["target"]), _FAMILY[whole(row["family"])])
    if row["network"] is not None:
        return Nic(text(row["host"]), text(row["network"]))
    return None


def _fault(written: str | None) -> Fault | None:
    if written is None:
        return None
    host, what, section, name, commands = parse_json(written)
    return Fault(text_or_none(host), text(what), text(section), text(name), _commands(commands))


def _commands(written: object) -> tuple[str, ...]:
    if not isinstance(written, list):
        raise TypeError("not a list")
    return tuple(map(text, written))


def outcome_of(row: sqlite3.Row) -> Outcome:
    """Return one row of a run's results. Raises TypeError, ValueError or LookupError if it is invalid."""
    return Outcome(
        text(row["host"]),
        text(row["section"]),
        text(row["name"]),
        _STATUS[row["status"]],
        expected=text_or_none(row["expected"]),
        actual=text_or_none(row["actual"]),
        why=text_or_none(row["why"]),
        diff=text_or_none(row["diff"]),
        seconds=finite(row["seconds"]),
        subject=_subject(row),
        blamed=text_or_none(row["blamed"]),
        fault=_fault(text_or_none(row["fault"])),
        by_hand=_commands(parse_json(row["by_hand"] or "[]")),
    )


def evidence_of(packed: bytes) -> dict[str, str]:
    """Return output by host. Raises zlib.error, TypeError or ValueError if labrun did not pack it."""
    unpacking = zlib.decompressobj()
    content = parse_json(unpacking.decompress(packed, LONGEST * _ESCAPED))
    if not unpacking.eof:
        raise ValueError("there is more in this than labrun writes")
    return {text(host): text(output) for host, output in content.items()}
