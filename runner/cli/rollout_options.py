"""The options of commands that work on hosts in batches: how many at first, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["rollout_options"]


def rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--canary`` and ``--max-fail``; :func:`max_fail_of` reads the second one."""
    canary = click.option(
        "--canary",
        type=click.IntRange(min=1),
        metavar="N",
        help="Start with N hosts, then 2N, 4N and so on, one batch after the other.",
    )
    max_fail = click.option(
        "--max-fail",
        metavar="N|P%",
        help="Stop starting hosts once more than N hosts, or P percent, have failed; 0 with --canary.",
    )
    return canary(max_fail(command))
