"""That no password is asked for: what a real sshd offers, and when a row is judged by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.errors import AuthenticationError
from labrun.outcome import Outcome, Status
from labrun.tasks.configure.password_proof import proved
from labrun.tasks.guest.transport import fresh_transport
from tests.loopback_sshd import loopback_sshd


@pytest.mark.parametrize(
    ("password", "interactive", "offered"),
    [
        ("no", "no", {"publickey"}),
        ("yes", "no", {"publickey", "password"}),
        ("no", "yes", {"publickey", "keyboard-interactive"}),
    ],
)
def test_a_login_sees_what_sshd_would_take_without_a_key(
    tmp_path: Path, password: str, interactive: str, offered: set[str]
) -> None:
    more = {"PasswordAuthentication": password, "KbdInteractiveAuthentication": interactive}
    with loopback_sshd(tmp_path, **more) as sshd:
        with fresh_transport(sshd.host(), ask_methods=True) as asking:
            assert set(asking.offered or ()) == offered
            assert asking.run("echo in", timeout=60).stdout == "in\n"
        with fresh_transport(sshd.host()) as silent:
            assert silent.offered is None


def test_asking_counts_as_no_failed_attempt(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path, MaxAuthTries="1") as sshd:
        with fresh_transport(sshd.host(), ask_methods=True) as asking:
            assert asking.offered is not None
        refused = sshd.host(key_file=str(sshd.state.known_hosts.with_name("absent")))
        with pytest.raises(AuthenticationError):
            fresh_transport(refused, ask_methods=True)


def row(name: str, status: Status = Status.OK, expected: str = "no", section: str = "sshd") -> Outcome:
    return Outcome("one", section, name, status, expected, expected)


BOTH = [row("passwordauthentication", Status.CHANGED), row("kbdinteractiveauthentication")]


def test_where_sshd_changed_its_answer_proves_both_settings() -> None:
    assert proved(BOTH, {"publickey"}) == BOTH


@pytest.mark.parametrize(
    "rows",
    [
        [row("passwordauthentication"), row("maxauthtries")],
        [row("passwordauthentication", expected="yes"), row("maxauthtries", Status.CHANGED, "4")],
        [row("passwordauthentication", Status.FAILED), row("maxauthtries", Status.CHANGED, "4")],
        [row("left", Status.CHANGED, section="nmcli"), row("passwordauthentication")],
    ],
    ids=["nothing changed", "allowed", "failed already", "something else changed"],
)
def test_elsewhere_the_answer_does_not_matter(rows: list[Outcome]) -> None:
    assert proved(rows, {"password"}) == rows
    assert proved(rows, None) == rows


@pytest.mark.parametrize("methods", [("publickey", "password"), ("none",)])
def test_what_is_offered_all_the_same_is_failed(methods: tuple[str, ...]) -> None:
    first, second = proved(BOTH, methods)
    assert first.status is Status.FAILED
    assert first.why == f"sshd reports no, and offers {methods[-1]} to a login without a key"
    assert (second.status is Status.FAILED) is ("none" in methods)


def test_where_nobody_asked_nothing_is_proved_and_the_rows_say_so() -> None:
    rows = proved([*BOTH, row("maxauthtries", Status.CHANGED, "4")], None)
    why = "whether sshd asks for a password could not be tested"
    assert [(each.status, each.why) for each in rows] == [
        (Status.CHANGED, why),
        (Status.OK, why),
        (Status.CHANGED, None),
    ]
