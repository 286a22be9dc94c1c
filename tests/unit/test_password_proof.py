"""That no password is asked for: what a real sshd offers, and when a row is judged by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.errors import UnreachableError
from labrun.outcome import Outcome, Status
from labrun.tasks.configure.password_proof import offered_methods, proved
from tests.loopback_sshd import free_port, loopback_sshd


@pytest.mark.parametrize(
    ("password", "interactive", "offered"),
    [
        ("no", "no", {"publickey"}),
        ("yes", "no", {"publickey", "password"}),
        ("no", "yes", {"publickey", "keyboard-interactive"}),
    ],
)
def test_sshd_says_what_it_would_take(
    tmp_path: Path, password: str, interactive: str, offered: set[str]
) -> None:
    more = {"PasswordAuthentication": password, "KbdInteractiveAuthentication": interactive}
    with loopback_sshd(tmp_path, **more) as sshd:
        assert offered_methods("127.0.0.1", sshd.port, sshd.user) == offered


def test_who_does_not_answer_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="Connection refused"):
        offered_methods("127.0.0.1", free_port(), "lab", timeout=5)


def row(name: str, status: Status = Status.OK, expected: str = "no", section: str = "sshd") -> Outcome:
    return Outcome("one", section, name, status, expected, expected)


BOTH = [row("passwordauthentication", Status.CHANGED), row("kbdinteractiveauthentication")]


class Sshd:
    """Answers with the same methods each time and counts how often it is asked."""

    def __init__(self, *methods: str):
        self.methods = methods
        self.asked = 0

    def __call__(self) -> tuple[str, ...]:
        self.asked += 1
        return self.methods


def test_where_sshd_changed_one_attempt_proves_both_settings() -> None:
    sshd = Sshd("publickey")
    assert proved(BOTH, sshd) == BOTH
    assert sshd.asked == 1


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
def test_elsewhere_nobody_is_asked(rows: list[Outcome]) -> None:
    sshd = Sshd("password")
    assert proved(rows, sshd) == rows
    assert sshd.asked == 0


@pytest.mark.parametrize("methods", [("publickey", "password"), ("none",)])
def test_what_is_offered_all_the_same_is_failed(methods: tuple[str, ...]) -> None:
    first, second = proved(BOTH, Sshd(*methods))
    assert first.status is Status.FAILED
    assert first.why == f"sshd says no, and offers {methods[-1]} to a login without a key"
    assert (second.status is Status.FAILED) is ("none" in methods)


def test_an_attempt_that_came_to_nothing_proves_nothing_and_says_so() -> None:
    def ask() -> tuple[str, ...]:
        raise UnreachableError("reset")

    rows = proved([*BOTH, row("maxauthtries", Status.CHANGED, "4")], ask)
    why = "that no password is asked for could not be tried: reset"
    assert [(each.status, each.why) for each in rows] == [
        (Status.CHANGED, why),
        (Status.OK, why),
        (Status.CHANGED, None),
    ]
