"""The limit of what a guest may print, whichever way it comes: SSH, namespaces, guest agent, console."""

from __future__ import annotations

from labrun.errors import UnreadableError
from labrun.ports import Completed

__all__ = ["MOST_BYTES", "TooMuchOutputError", "require_size"]

MOST_BYTES = 8 * 1024 * 1024
"""The limit of both streams together before the script is cut off: a run has many hosts in memory."""

_NO_STATUS = -1


class TooMuchOutputError(UnreadableError):
    """Report that a script was cut off; ``kept`` is what it had written until then, without a status."""

    def __init__(self, reason: str, kept: Completed) -> None:
        super().__init__(reason, step="script")
        self.kept = kept


def require_size(
    size: int,
    most: int = MOST_BYTES,
    *,
    out: bytes | bytearray | str = b"",
    err: bytes | bytearray | str = b"",
) -> None:
    """Raise TooMuchOutputError for more than ``most`` bytes of output; the caller ends the script.

    ``out`` and ``err`` are what has been read of both streams.
    """
    if size > most:
        reason = f"the script wrote more than {most} bytes and was cut off"
        raise TooMuchOutputError(reason, Completed(_NO_STATUS, _text(out, most), _text(err, most), 0.0))


def _text(stream: bytes | bytearray | str, most: int) -> str:
    return stream[:most] if isinstance(stream, str) else stream[:most].decode(errors="replace")
