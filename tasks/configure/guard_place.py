"""Where a guest keeps what a guard is made of: on its disk, and in its memory."""

from __future__ import annotations

__all__ = ["GUARD", "LIVE"]

GUARD = "/var/lib/labrun/guard"
LIVE = "/run/labrun-guard"
