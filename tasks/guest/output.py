"""The limit of what a guest may print, whichever way it comes: SSH, namespaces, guest agent, console."""

from __future__ import annotations

from labrun.errors import UnreadableError

__all__ = ["MOST_BYTES", "require_size"]

MOST_BYTES = 8 * 1024 * 1024
"""The limit of both streams together before the script is cut off: a run has many hosts in memory."""


def require_size(size: int, most: int = MOST_BYTES) -> None:
    """Raise UnreadableError for more than ``most`` bytes of output; the caller ends the script."""
    if size > most:
        raise UnreadableError(f"the script wrote more than {most} bytes and was cut off", step="script")
