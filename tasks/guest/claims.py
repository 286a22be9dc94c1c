"""Who answers for an address on a network of this machine, asked with ARP and neighbour solicitations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from labrun.tasks.guest.scripts import guest_program

__all__ = ["claims_here"]


def claims_here(words: Sequence[str], seconds: float) -> Mapping[str, str]:
    """Return by address the MAC of whoever answers for it; empty also if nobody could be asked.

    ``words`` are those of ``templates/guest/claims.py``; after ``seconds`` it is given up.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", guest_program("claims"), *words],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.split() for line in done.stdout.splitlines())
    return {words[0]: words[1] for words in pairs if len(words) == 2}
