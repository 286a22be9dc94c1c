"""The signal that ends a command. A command that only reads still shows the results so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labrun.outcome import Outcome, Status

__all__ = ["Interruption", "with_missing"]


@dataclass(slots=True)
class Interruption:
    """A pending Ctrl-C or SIGTERM; ``lab`` and ``hosts`` are those of the command, once known.

    ``signal`` is the exception that was raised, None until then.
    """

    lab: str | None = None
    hosts: tuple[str, ...] = ()
    signal: KeyboardInterrupt | None = None

    @property
    def came(self) -> bool:
        """Return whether a signal arrived."""
        return self.signal is not None

    @property
    def exit_code(self) -> int | None:
        """Return the signal's exit code, None for that of Ctrl-C."""
        return getattr(self.signal, "exit_code", None)

    def end(self) -> None:
        """Raise the signal again before further work begins. Do nothing if none arrived."""
        if self.signal is not None:
            raise self.signal


def with_missing(rows: Iterable[Outcome], hosts: Iterable[str], section: str) -> list[Outcome]:
    """Return the rows, and a row ``unknown`` for each host that has none."""
    present = list(rows)
    known = {row.host for row in present}
    return present + [
        Outcome(host, section, host, Status.UNKNOWN, why="interrupted") for host in hosts if host not in known
    ]
