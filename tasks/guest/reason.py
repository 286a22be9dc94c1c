"""Why a login fails, as it is seen without one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reason"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a login fails; ``is_sure`` = it does so for certain, and waiting does not help."""

    text: str
    is_sure: bool = True
