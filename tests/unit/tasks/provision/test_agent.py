"""What the guest agent's answers mean."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from labrun.errors import CommandError
from labrun.ports import Completed
from labrun.tasks.provision.agent import AgentTransport

AGENT = AgentTransport("h1", None)


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"exited": True, "exitcode": 0}, Completed(0, "", "", 1.5)),
        (
            {"exited": True, "exitcode": 7, "out-data": _text("é\n"), "err-data": _text("no\n")},
            Completed(7, "é\n", "no\n", 1.5),
        ),
        ({"exited": True, "signal": 15}, Completed(143, "", "", 1.5)),
        (
            {"exited": True, "exitcode": 0, "out-data": base64.b64encode(b"a\xff").decode()},
            Completed(0, "a\ufffd", "", 1.5),
        ),
    ],
)
def test_an_ended_script(status: dict[str, Any], expected: Completed) -> None:
    assert AGENT._completed(status, 1.5) == expected


@pytest.mark.parametrize("stream", ["out", "err"])
def test_output_that_was_cut_is_an_error(stream: str) -> None:
    with pytest.raises(CommandError) as caught:
        AGENT._completed({"exited": True, "exitcode": 0, f"{stream}-truncated": True}, 1.0)
    assert str(caught.value) == "h1: agent: the script wrote more than the guest agent keeps (16 MiB)"
