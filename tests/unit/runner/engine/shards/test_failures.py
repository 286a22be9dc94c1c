"""An exception of a worker gives the row that it would have given here."""

from __future__ import annotations

import pytest

from labrun import errors
from labrun.errors import (
    ConnectionLostError,
    HostKeyChangedError,
    LabFileError,
    LabrunError,
    Problem,
    TransportError,
    UnreachableError,
)
from labrun.runner.engine.nornir import row_of_error
from labrun.runner.engine.results import NotStartedError
from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.failures import error_of, failure_of

_REASONED = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, LabrunError) and each is not LabFileError
]


class _SuddenError(ConnectionLostError):
    """Declared elsewhere."""


class _PluginError(Exception):
    """Of a library's."""


def back(error: BaseException) -> BaseException:
    return error_of(from_line(to_line(failure_of(error))), "web")


@pytest.mark.parametrize("kind", [*_REASONED, NotStartedError, _SuddenError])
def test_what_labrun_raises_gives_the_same_row(kind: type[LabrunError]) -> None:
    error = kind("no answer", host="web", step="connect", hint="start it")
    assert row_of_error("web", "exec", "x", back(error)) == row_of_error("web", "exec", "x", error)
    assert isinstance(back(error), kind if kind is not _SuddenError else ConnectionLostError)


@pytest.mark.parametrize(
    "error",
    [
        OSError("it broke"),
        ValueError(""),
        KeyError("name"),
        RuntimeError("ä"),
        _PluginError("a library's"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyboardInterrupt("stop"),
    ],
)
def test_any_other_gives_the_same_row(error: BaseException) -> None:
    assert row_of_error("web", "exec", "x", back(error)) == row_of_error("web", "exec", "x", error)


def test_a_lab_file_error_keeps_its_text() -> None:
    error = LabFileError("lab.yaml", (Problem(1, "hosts", "no hosts"),))
    assert isinstance(back(error), LabrunError)


def test_the_cause_comes_along() -> None:
    error = UnreachableError("refused")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    cause = back(error).__cause__
    assert isinstance(cause, ConnectionRefusedError)
    assert str(cause) == "[Errno 111] Connection refused"


def test_a_host_key_that_changed_is_still_a_failed_login() -> None:
    assert isinstance(back(HostKeyChangedError("another key")), TransportError)
