"""What the guest agent's answers mean."""

from __future__ import annotations

import base64
import json
from typing import Any

import libvirt_qemu
import pytest

from labrun.errors import CommandError
from labrun.tasks.provision.agent import AgentTransport


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def transport(monkeypatch: pytest.MonkeyPatch, ending: dict[str, Any]) -> AgentTransport:
    """Return the way to an agent whose every command still runs at first, and then ends like this."""
    answers = iter([{"pid": 4321}, {"exited": False}, ending])

    def answer(_domain: object, request: str, _timeout: int, _flags: int) -> str:
        expected = "guest-exec-status" if json.loads(request)["arguments"].get("pid") else "guest-exec"
        assert json.loads(request)["execute"] == expected
        return json.dumps({"return": next(answers)})

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", answer)
    return AgentTransport("h1", None)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ({"exited": True, "exitcode": 0}, (0, "", "")),
        (
            {"exited": True, "exitcode": 7, "out-data": _text("é\n"), "err-data": _text("no\n")},
            (7, "é\n", "no\n"),
        ),
        ({"exited": True, "signal": 15}, (143, "", "")),
        (
            {"exited": True, "exitcode": 0, "out-data": base64.b64encode(b"a\xff").decode()},
            (0, "a\ufffd", ""),
        ),
    ],
)
def test_an_ended_script(
    monkeypatch: pytest.MonkeyPatch, ending: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    done = transport(monkeypatch, ending).run("true", timeout=30)
    assert (done.exit_status, done.stdout, done.stderr) == expected
    # It was asked twice, with a pause.
    assert done.seconds > 0.01


@pytest.mark.parametrize("stream", ["out", "err"])
def test_output_that_was_cut_is_an_error(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    cut = transport(monkeypatch, {"exited": True, "exitcode": 0, f"{stream}-truncated": True})
    with pytest.raises(CommandError) as caught:
        cut.run("yes", timeout=30)
    assert str(caught.value) == "h1: agent: the script wrote more than the guest agent keeps (16 MiB)"
