"""Joining the user's terminal and a console."""

from __future__ import annotations

import os
import select

from labrun.runner.commands import console


def test_what_was_typed_before_the_terminal_is_raw_is_kept() -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"hostname\r")
        # Its echo: the terminal has the keys.
        assert select.select([ours], [], [], 10)[0]
        with console._raw(theirs):
            assert select.select([theirs], [], [], 10)[0]
            assert os.read(theirs, 100) == b"hostname\n"
    finally:
        os.close(ours)
        os.close(theirs)
