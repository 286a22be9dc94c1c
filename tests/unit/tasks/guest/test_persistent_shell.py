"""One shell for many scripts, over a real sshd on loopback: nothing of one is carried over to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import CommandError, ConnectionLostError, UnreachableError
from labrun.tasks.guest.persistent_shell import PersistentShell
from labrun.tasks.guest.transport import SshTransport, fresh_transport
from tests.loopback_sshd import LoopbackSshd, loopback_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def transport(sshd: LoopbackSshd) -> Iterator[SshTransport]:
    with fresh_transport(sshd.host()) as opened:
        yield opened


@pytest.fixture
def shell(transport: SshTransport) -> PersistentShell:
    connected = transport.login.transport
    assert connected is not None
    return PersistentShell(connected, "sh -s")


def run(shell: PersistentShell, script: str, seconds: float = 10) -> tuple[int, str, str]:
    done = shell.run(script, deadline=time.monotonic() + seconds)
    return done.exit_status, done.stdout, done.stderr


def test_scripts_share_a_shell_and_nothing_else(shell: PersistentShell) -> None:
    first = run(shell, "echo $$; cd /; x=1; umask 0; set -f; f() { :; }; trap 'echo bye' EXIT; exit 5")
    second = run(shell, "echo $$; pwd; echo ${x-unset} $(umask) *missing*; type f; echo e >&2")
    assert (first[0], first[1].endswith("\nbye\n")) == (5, True)
    pid, where, rest, kind = second[1].splitlines()
    assert pid == first[1].splitlines()[0]
    assert (where, rest, "not found" in kind, second[2]) == (
        str(Path.home()),
        "unset 0022 *missing*",
        True,
        "e\n",
    )


def test_a_kept_shell_serves_root_s_scripts_and_no_others(transport: SshTransport) -> None:
    transport.keep_shell()
    pids = [transport.run("echo $$", timeout=60, sudo=True).stdout for _ in range(3)]
    assert len(set(pids)) == 1
    assert transport.run("echo $$", timeout=60).stdout not in pids
    transport.end_shell()
    assert transport.run("echo $$", timeout=60, sudo=True).stdout not in pids


@pytest.mark.parametrize("text", ["", "x", "x\n", "\n\nx", "labrun-0123\n", "x" * 100_000])
def test_output_arrives_as_it_was(shell: PersistentShell, text: str) -> None:
    for _ in range(2):
        script = f"cat <<'END'\n{text}\nEND\nprintf %s '{text[:9]}' >&2"
        assert run(shell, script) == (0, f"{text}\n", text[:9])


@pytest.mark.parametrize("script", ["if true; then", "echo '", "echo $(("])
def test_a_script_that_is_none_does_nothing_and_breaks_nothing(
    shell: PersistentShell, script: str, tmp_path: Path
) -> None:
    status, out, _ = run(shell, f"touch {tmp_path}/ran; {script}")
    assert (status != 0, out) == (True, "")
    assert not (tmp_path / "ran").exists()
    assert run(shell, "echo next") == (0, "next\n", "")


def test_a_shell_whose_time_was_up_is_closed(shell: PersistentShell) -> None:
    with pytest.raises(ConnectionLostError, match="did not finish in time"):
        run(shell, "sleep 20", seconds=0.5)
    assert not shell.is_open
    with pytest.raises(UnreachableError, match="the shell is closed"):
        run(shell, "true")


def test_too_much_output_closes_the_shell(shell: PersistentShell) -> None:
    with pytest.raises(CommandError, match="wrote more than 1000 bytes"):
        shell.run("yes | head -c 2000; sleep 20", deadline=time.monotonic() + 10, most=1000)
    assert not shell.is_open


def test_a_command_that_is_no_shell_leaves_its_own_status(transport: SshTransport) -> None:
    connected = transport.login.transport
    assert connected is not None
    shell = PersistentShell(connected, "sh -c 'echo no >&2; exit 7'")
    assert run(shell, "true") == (7, "", "no\n")
    assert not shell.is_open


def test_closing_lets_a_script_end_that_ignores_it(shell: PersistentShell, tmp_path: Path) -> None:
    with pytest.raises(ConnectionLostError):
        run(shell, f"trap '' HUP PIPE; sleep 1; touch {tmp_path}/ended", seconds=0.3)
    until = time.monotonic() + 10
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
