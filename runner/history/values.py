"""The values of a history's columns, which may be anybody's: each of its type, or an error."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping

from labrun.outcome import Family, Nic, Outcome, Pair, Status, Subject
from labrun.runner.history.store import LONGEST
from labrun.state_files import finite, parse_json

__all__ = ["evidence_of", "outcome_of", "text", "text_or_none", "whole"]

_STATUS = {status.value: status for status in Status}
_ESCAPED = 2  # JSON spells some characters with more bytes


def text(value: object) -> str:
    """Return the text; TypeError where the value is none."""
    if not isinstance(value, str):
        raise TypeError("this is no text")
    return value


def text_or_none(value: object) -> str | None:
    """Return the text or None; TypeError for any other value."""
    return None if value is None else text(value)


def whole(value: object) -> int:
    """Return the whole number; TypeError where the value is none."""
    if not isinstance(value, int):
        raise TypeError("this is no whole number")
    return value


_FAMILY: Mapping[int, Family] = {4: 4, 6: 6}


def _subject(row: sqlite3.Row) -> Subject | None:
    if row["target"] is not None:
        return Pair(text(row["host"]), text(row["target"]), _FAMILY[whole(row["family"])])
    if row["network"] is not None:
        return Nic(text(row["host"]), text(row["network"]))
    return None


def outcome_of(row: sqlite3.Row) -> Outcome:
    """Return one row of a run's results; TypeError, ValueError or LookupError for what is none."""
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
    )


def evidence_of(packed: bytes) -> dict[str, str]:
    """Return what hosts showed, by host; zlib.error, TypeError or ValueError for what labrun did not pack."""
    unpacking = zlib.decompressobj()
    found = parse_json(unpacking.decompress(packed, LONGEST * _ESCAPED))
    if not unpacking.eof:
        raise ValueError("there is more in this than labrun writes")
    return {text(host): text(said) for host, said in found.items()}
