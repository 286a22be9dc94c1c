"""A login that runs something else than the script, or prints something first, by a real sshd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import UnreachableError
from labrun.ports import Completed
from labrun.tasks.guest.transport import _check_sudo, fresh_transport
from tests.loopback_sshd import LoopbackSshd, loopback_sshd
from tests.shares import every


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


NO_COMMANDS = {
    "sh -c 'echo This account is currently not available.; exit 1'": (
        "it said 'This account is currently not available.' and ended with exit status 1"
    ),
    "/bin/false": "it printed nothing and ended with exit status 1",
    "/bin/true": "it printed nothing and ended with exit status 0",
    "sh -c 'echo welcome; echo closed >&2'": "it said 'welcome' and ended with exit status 0",
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("command", every(3, NO_COMMANDS))
def test_a_login_that_runs_no_commands_is_said_at_once_in_the_host_s_words(
    tmp_path: Path, command: str, kept: bool
) -> None:
    with loopback_sshd(tmp_path, ForceCommand=command) as server, fresh_transport(server.host()) as opened:
        if kept:
            opened.keep_shell()
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            opened.run("echo here", timeout=60, sudo=kept)
        assert time.monotonic() - started < 50
    assert caught.value.reason == f"the login of {server.user} runs no commands: {NO_COMMANDS[command]}"


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_login_prints_first_is_not_the_script_s(tmp_path: Path, kept: bool) -> None:
    command = "sh -c 'echo noise >&2; eval \"$SSH_ORIGINAL_COMMAND\"'"
    with loopback_sshd(tmp_path, ForceCommand=command) as server, fresh_transport(server.host()) as opened:
        if kept:
            opened.keep_shell()
        for _ in range(2):
            done = opened.run("echo out; echo err >&2; exit 3", timeout=60, sudo=kept)
            assert (done.exit_status, done.stdout, done.stderr, done.started) == (3, "out\n", "err\n", True)


def test_a_script_that_a_shell_cannot_parse_is_no_login_without_commands(sshd: LoopbackSshd) -> None:
    with fresh_transport(sshd.host()) as opened:
        done = opened.run("if", timeout=60)
    assert done.exit_status != 0
    assert done.started


def test_a_sudo_that_wants_a_terminal_is_named_with_its_cure() -> None:
    said = "sudo: sorry, you must have a tty to run sudo\n"
    with pytest.raises(UnreachableError) as caught:
        _check_sudo(Completed(1, "", said, 0.1, started=False), "lab")
    assert caught.value.reason == "sudo does not work for lab: sudo: sorry, you must have a tty to run sudo"
    assert caught.value.hint == "labrun needs `Defaults:lab !requiretty` in the guest's sudoers"
