"""Histories for tests: runs written as a command's recording writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labrun.outcome import Outcome
from labrun.runner.cli.invocation import new_run_id
from labrun.runner.history.reading import Run
from labrun.runner.history.store import open_to_write
from labrun.runner.history.writing import Beginning, Ending, begin, finish, keep

__all__ = ["DAY", "NOON", "past", "remember"]

NOON = 1_795_608_000.0
"""2026-11-25T12:00:00Z."""
DAY = 86_400.0


def remember(
    path: Path,
    rows: Sequence[Outcome] = (),
    *,
    lab: str = "lab",
    command: str = "verify",
    arguments: str = "",
    digest: str | None = "d" * 64,
    began: float = NOON,
    seconds: float = 1.0,
    exit_code: int = 0,
    uri: str | None = "lxc:///system",
    removed_lab: bool = False,
    interrupted: bool = False,
    finished: bool = True,
    forever: bool = True,
    evidence: Mapping[str, str] | None = None,
) -> str:
    """Write one run and return its ID; with ``forever`` into a history that drops none for its age."""
    run = new_run_id(began)
    with contextlib.closing(open_to_write(path)) as connection:
        if forever:
            keep(connection, days=0)
        number = begin(connection, Beginning(run, lab, command, arguments, digest, began))
        if finished:
            ending = Ending(
                rows,
                seconds,
                exit_code,
                interrupted=interrupted,
                removed_lab=removed_lab,
                uri=uri,
                evidence=evidence,
            )
            finish(connection, number, ending)
    return run


def past(exit_code: int | None, number: int = 0, **known: object) -> Run:
    """Return a run of verify that ended so, the ``number``-th hour ago."""
    began = NOON - number * 3600
    run = Run(
        number=1000 - number,
        run=new_run_id(began),
        lab="lab",
        command="verify",
        arguments="",
        digest="d" * 64,
        labrun="0.1.0",
        uri="lxc:///system",
        began=began,
        seconds=None if exit_code is None else 1.5,
        exit_code=exit_code,
        interrupted=exit_code == 130,
        error=None,
        counts={} if exit_code is None else {"ok": 58},
        versions={},
        is_running=False,
    )
    return replace(run, **known)  # type: ignore[arg-type]
