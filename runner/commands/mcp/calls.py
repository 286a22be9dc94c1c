"""Run labrun for a client: a process for each call, and its JSON document in short.

A process, since standard output belongs to the protocol, and a command enters libvirtd's network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from labrun.errors import LabrunError
from labrun.runner.cli.invocation import DEFAULT_WORKERS, Invocation

__all__ = ["Call", "in_short", "labrun_call", "words_of"]

_MOST_ROWS: Final = 200
"""Rows of an answer: a client's model reads each of them."""
_GOOD: Final = ("ok", "skipped")


class Call(Protocol):
    """Runs a command of labrun and returns its JSON document. Raises LabrunError if it has none."""

    async def __call__(self, *words: str) -> dict[str, Any]:
        """Run ``labrun WORDS``."""


def words_of(invocation: Invocation) -> list[str]:
    """Return the global options that each call has, as the server itself was given them."""
    given = {
        "--lab": invocation.lab,
        "--state-dir": invocation.state_dir,
        "--history": invocation.history,
        "--fork": invocation.fork,
        "--timeout": invocation.timeout,
        "--workers": invocation.workers if invocation.workers != DEFAULT_WORKERS else None,
    }
    words = [f"{option}={value}" for option, value in given.items() if value is not None]
    return [*words, "--allow-outside"] if invocation.allow_outside else words


def labrun_call(invocation: Invocation) -> Call:
    """Return a call with the server's own options."""
    import anyio

    options = words_of(invocation)

    async def call(*words: str) -> dict[str, Any]:
        done = await anyio.run_process(
            [sys.executable, "-m", "labrun", *options, *words, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        return _document(words, done.stdout, done.stderr)

    return call


def _document(words: Sequence[str], stdout: bytes, stderr: bytes) -> dict[str, Any]:
    try:
        document = json.loads(stdout)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        last = stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise LabrunError(f"labrun {words[0]} printed no document: {' '.join(last) or 'nothing at all'}")
    return document


def in_short(document: dict[str, Any], *, all_rows: bool) -> dict[str, Any]:
    """Return a document with the number of rows by status, and those that are not ok unless ``all_rows``.

    More than 200 rows are cut off, and ``left_out`` counts them.
    """
    rows = document.get("results", [])
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    chosen = rows if all_rows else [row for row in rows if row["status"] not in _GOOD]
    short = {**document, "counts": counts, "results": chosen[:_MOST_ROWS]}
    return {**short, "left_out": len(chosen) - _MOST_ROWS} if len(chosen) > _MOST_ROWS else short
