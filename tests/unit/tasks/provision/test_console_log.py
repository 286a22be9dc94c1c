"""The last lines of a serial console: what the guest has shown there, and not what labrun has said."""

from __future__ import annotations

import pytest

from labrun.tasks.provision.console_log import shown_on_console

MARK = "labrun-104fdd6a8d277e6d41a8ae6b"
CODED = "WGZybUluU3RhdGVFeHBpcmVkIDAKWGZybUluU3RhdGVNaXNtYXRjaCAwCg=="
ANSWER = f"{MARK} begin out\r\n{CODED}\r\n{MARK} end e3b0  -\r\n"


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("", ""),
        ("one\r\n\r\n\x1b[1;32mtwo\x1b[0m  \r\n", "one\ntwo"),
        (
            f"boot\r\n{MARK} next\r\n{MARK} taken\r\n{MARK} status 1\r\n{ANSWER}{MARK} bye\r\nv login: ",
            "boot\nv login:",
        ),
        # The kernel writes between them, and a word of the guest's may look like base64.
        (
            ANSWER.replace("\r\n", "\r\n[ 112.04] eth0: link down\r\n", 1) + "login\r\n",
            "[ 112.04] eth0: link down\nlogin",
        ),
        # The log begins in the middle of an answer.
        (ANSWER.partition("out\r\n")[2] + "Debian\r\n", "Debian"),
        ("Password\r\n" + ANSWER, "Password"),
        (f"{MARK[:-1]} next\r\n", f"{MARK[:-1]} next"),
    ],
)
def test_what_is_shown(log: str, shown: str) -> None:
    assert shown_on_console(log.encode(), 15) == shown


def test_the_last_lines_count_without_what_is_left_out() -> None:
    log = "".join(f"line {number}\n" for number in range(5)) + ANSWER * 20
    assert shown_on_console(log.encode(), 2) == "line 3\nline 4"
