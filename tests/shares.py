"""Which cases of a parametrized test run in `make test`: one of each kind; `make test-full` runs all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

__all__ = ["every", "of_ci"]


def of_ci(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """Return the cases as parameters, all but those that are ``kept`` marked `full`."""
    cases = list(cases)
    unknown = [each for each in kept if each not in cases]
    assert not unknown, unknown
    return [each if each in kept else pytest.param(each, marks=pytest.mark.full) for each in cases]


def every(nth: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases as parameters, all but every ``nth``, the first among them, marked `full`.

    For cases that are alike.
    """
    cases = list(cases)
    return of_ci(cases, cases[::nth])
