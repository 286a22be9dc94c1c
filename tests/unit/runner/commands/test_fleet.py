"""`labrun fleet` where none runs: what it writes down, and what it says of a machine that is not there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from labrun.runner.engine.fleet.model import FleetFolder
from tests.loopback_sshd import free_port, loopback_sshd
from tests.unit.command_line import run_labrun

MACHINES = ("ann@site-a", "ann@site-b:2222")


def fleet(folder: Path, *words: str) -> tuple[int, str]:
    """Run `labrun fleet` with its state in the folder; returns exit code and the error, without `error: `."""
    done = run_labrun("--state-dir", str(folder), "fleet", *words, cwd=folder)
    return done.returncode, done.stderr.removeprefix("error: ")


def rows(folder: Path, *words: str) -> tuple[int, list[tuple[str, str, str | None]]]:
    done = run_labrun("--state-dir", str(folder), "--json", "fleet", *words, cwd=folder)
    found = json.loads(done.stdout)["results"]
    assert {(row["host"], row["section"]) for row in found} <= {("hypervisor", "fleet")}
    return done.returncode, [(row["name"], row["status"], row["actual"] or row["why"]) for row in found]


def test_init_writes_down_who_belongs_to_it_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    wanted = {
        "scheduler": "tcp://127.0.0.1:14786",
        "ann@site-a": "tcp://127.0.0.1:14787",
        "ann@site-b:2222": "tcp://127.0.0.1:14788",
    }
    assert rows(tmp_path, "init", *MACHINES) == (0, [(name, "changed", at) for name, at in wanted.items()])
    assert rows(tmp_path, "init", *MACHINES) == (0, [(name, "ok", at) for name, at in wanted.items()])
    file = FleetFolder.of(tmp_path).file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_init_with_tls_makes_an_authority_once(tmp_path: Path) -> None:
    words = ("init", *MACHINES, "--tls", "--address", "192.0.2.1", "--port", "20000")
    code, made = rows(tmp_path, *words)
    assert (code, made[1]) == (0, ("ann@site-a", "changed", "tls://site-a:20001"))
    key = FleetFolder.of(tmp_path).certificates / "authority.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = key.read_bytes()
    assert {status for _, status, _ in rows(tmp_path, *words)[1]} == {"ok"}
    assert key.read_bytes() == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "site-a"), "'site-a' is not a machine\nhint: user@host, or user@host:port\n"),
        (("init", "ann@a;b"), "'ann@a;b' is not a machine\nhint: user@host, or user@host:port\n"),
        (("init", "ann@a:70000"), "'ann@a:70000' is not a machine\nhint: user@host, or user@host:port\n"),
        (("init", "--", "-oProxyCommand=x@a"), None),
        (("init", "ann@a", "ann@a"), "ann@a is named twice\n"),
        (
            ("init", "ann@a", "--address", "192.0.2.1"),
            "--address: without --tls the scheduler listens on loopback only\n",
        ),
        (
            ("init", "ann@a", "--tls"),
            "--tls needs the address at which the machines reach this one\nhint: --address\n",
        ),
        (("init", "ann@a", "--identity", "/none"), "--identity: /none: there is no such file\n"),
        (("install",), "there is no fleet\nhint: labrun fleet init USER@HOST...\n"),
        (("status",), "there is no fleet\nhint: labrun fleet init USER@HOST...\n"),
        (("stop",), "there is no fleet\nhint: labrun fleet init USER@HOST...\n"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: tuple[str, ...], message: str | None) -> None:
    code, error = fleet(tmp_path, *words)
    assert code == 2
    if message is None:
        assert "'-oProxyCommand=x@a' is not a machine" in error
    else:
        assert error == message
    assert not FleetFolder.of(tmp_path).file.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--wheel", "/none.whl"), "--wheel: /none.whl: No such file or directory\n"),
        (("--packages", "EMPTY"), "--packages: there are no wheels in EMPTY\n"),
    ],
)
def test_what_cannot_be_installed_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    rows(tmp_path, "init", *MACHINES)
    empty = str(tmp_path / "empty")
    code, error = fleet(tmp_path, "install", *(word.replace("EMPTY", empty) for word in words))
    assert (code, error) == (2, message.replace("EMPTY", empty))


def test_a_fleet_that_does_not_run_is_shown_so(tmp_path: Path) -> None:
    rows(tmp_path, "init", *MACHINES)
    code, seen = rows(tmp_path, "status")
    assert (code, seen) == (
        1,
        [
            ("scheduler", "failed", "not running"),
            ("ann@site-a", "failed", "no worker"),
            ("ann@site-b:2222", "failed", "no worker"),
        ],
    )


def test_a_machine_that_ssh_does_not_get_into_is_unreachable_and_nothing_is_left(tmp_path: Path) -> None:
    nobody = tmp_path / "nobody"
    nobody.write_text("")
    with loopback_sshd(tmp_path) as sshd:
        machine = f"{sshd.user}@127.0.0.1:{sshd.port}"
        files = ("--identity", str(sshd.state.identity), "--known-hosts", str(nobody))
        rows(tmp_path, "init", machine, "--port", str(free_port() % 40_000 + 20_000), *files)
        code, done = rows(tmp_path, "install")
        assert (code, done[1]) == (
            4,
            (
                f"{machine} labrun",
                "unreachable",
                "Host key verification failed. (check the key, and add it to known_hosts)",
            ),
        )
        # The scheduler is there for the machines that are.
        assert done[0][:2] == ("scheduler", "changed")
        refused = fleet(tmp_path, "init", "ann@elsewhere")
        assert refused == (2, "the fleet is running\nhint: `labrun fleet stop` ends it\n")
        code, stopped = rows(tmp_path, "stop")
        assert (code, [status for _, status, _ in stopped]) == (4, ["changed", "unreachable"])
    assert sorted(path.name for path in FleetFolder.of(tmp_path).root.iterdir()) == ["fleet.json", "lock"]
