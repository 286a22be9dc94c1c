"""How many examples hypothesis draws: a quarter in `make test`, all of them in `make test-full`.

The share is a profile's: ``HYPOTHESIS_PROFILE=full pytest FILE`` draws all in one file.
"""

from __future__ import annotations

import os

from hypothesis import settings

__all__ = ["examples", "load_profile"]

_USUAL = 100
_SHARES = {"quick": 0.25, "full": 1.0}


def load_profile() -> None:
    """Have every test draw the share of the profile; none has a deadline, as the machine may be busy."""
    for name in _SHARES:
        settings.register_profile(name, max_examples=examples(_USUAL, name), deadline=None)
    settings.load_profile(_profile())


def examples(number: int, profile: str | None = None) -> int:
    """Return how many examples are drawn where ``number`` would be all."""
    return max(10, round(number * _SHARES[profile or _profile()]))


def _profile() -> str:
    return os.environ.get("HYPOTHESIS_PROFILE", "quick")
