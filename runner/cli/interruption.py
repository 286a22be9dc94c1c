"""What a command knows of the signal that shall end it: one that only reads still shows what it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labrun.outcome import Outcome, Status

__all__ = ["Interruption", "with_missing"]


@dataclass(slots=True)
class Interruption:
    """Ctrl-C or SIGTERM, once it came; ``lab`` and ``hosts`` say whom the command is about, when known.

    ``signal`` is what was raised, and None until then.
    """

    lab: str | None = None
    hosts: tuple[str, ...] = ()
    signal: KeyboardInterrupt | None = None

    @property
    def came(self) -> bool:
        """Tell whether the command shall end."""
        return self.signal is not None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code that goes with the signal, None for Ctrl-C's own."""
        return getattr(self.signal, "exit_code", None)

    def end(self) -> None:
        """Raise the signal again where nothing further may begin; nothing where none came."""
        if self.signal is not None:
            raise self.signal


def with_missing(rows: Iterable[Outcome], hosts: Iterable[str], section: str) -> list[Outcome]:
    """Return the rows, and one for each host that has none: what it is like was not found out."""
    found = list(rows)
    known = {row.host for row in found}
    return found + [
        Outcome(host, section, host, Status.UNKNOWN, why="interrupted") for host in hosts if host not in known
    ]
