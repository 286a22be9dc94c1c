"""Exceptions as plain text, and back: a row that tells of one reads the same wherever the task ran."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Final

from labrun import errors
from labrun.errors import LabrunError
from labrun.runner.engine.results import NotStartedError
from labrun.runner.engine.shards.messages import Failure

__all__ = ["error_of", "failure_of"]

_DEEPEST = 5
_OWN: Final[Mapping[str, type[LabrunError]]] = {
    "NotStartedError": NotStartedError,
    **{
        name: each
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, LabrunError)
    },
}


def failure_of(error: BaseException, depth: int = _DEEPEST) -> Failure:
    """Return what travels of an exception: the name of its class, its text, and those of its cause."""
    cause = failure_of(error.__cause__, depth - 1) if error.__cause__ is not None and depth else None
    if isinstance(error, LabrunError):
        # Of a class that is declared elsewhere, what it is a kind of.
        kind = next(each.__name__ for each in type(error).__mro__ if _OWN.get(each.__name__) is each)
        return Failure(kind, error.reason, error.step, error.hint, cause)
    return Failure(type(error).__name__, str(error), cause=cause)


def error_of(failure: Failure, host: str) -> BaseException:
    """Return an exception of the class of that name, or one that is only called so."""
    error = _made(failure, host)
    if failure.cause is not None:
        error.__cause__ = error_of(failure.cause, host)
    return error


def _made(failure: Failure, host: str) -> BaseException:
    own = _OWN.get(failure.kind)
    if own is not None:
        try:
            return own(failure.reason, host=host, step=failure.step, hint=failure.hint)
        except TypeError:  # one that is made of something else than a reason
            return LabrunError(failure.reason, host=host, step=failure.step, hint=failure.hint)
    known: type[BaseException] | None = getattr(builtins, failure.kind, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        try:
            found = known(failure.reason)
        except TypeError:  # UnicodeDecodeError is made of five things
            return _called(failure)
        # A KeyError puts its text into quotes.
        if str(found) == failure.reason:
            return found
    return _called(failure)


def _called(failure: Failure) -> BaseException:
    named: type[Exception] = type(failure.kind, (Exception,), {})
    return named(failure.reason)
