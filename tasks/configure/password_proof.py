"""Whether a login without a key is offered a password: sshd's reply after its settings have changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from labrun.outcome import Outcome, Status
from labrun.tasks.state.sections import SSHD

__all__ = ["proved"]

_METHODS = {"passwordauthentication": "password", "kbdinteractiveauthentication": "keyboard-interactive"}


def proved(rows: Sequence[Outcome], offered: Collection[str] | None) -> list[Outcome]:
    """Return the rows with sshd's actual offer of passwords, if its settings changed and forbid them.

    ``offered`` are the methods available to a login without a key, ``none`` if nothing is required;
    None = not tested.
    """
    forbidding = {row.name for row in rows if row.section == SSHD.name and _forbids(row)}
    if not forbidding or not any(row.section == SSHD.name and row.status is Status.CHANGED for row in rows):
        return list(rows)
    if offered is None:
        why = "whether sshd asks for a password could not be tested"
        return [replace(row, why=row.why or why) if row.name in forbidding else row for row in rows]
    return [_judged(row, offered) if row.name in forbidding else row for row in rows]


def _forbids(row: Outcome) -> bool:
    return row.name in _METHODS and row.expected == "no" and row.status in (Status.OK, Status.CHANGED)


def _judged(row: Outcome, offered: Collection[str]) -> Outcome:
    wrong = [method for method in (_METHODS[row.name], "none") if method in offered]
    if row.section != SSHD.name or not wrong:
        return row
    why = f"sshd reports {row.actual}, and offers {wrong[0]} to a login without a key"
    return replace(row, status=Status.FAILED, why=why)
