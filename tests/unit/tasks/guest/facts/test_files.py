"""Files of a guest, read from what it printed, whatever that is."""

from __future__ import annotations

import base64

import pytest

from labrun.errors import UnreadableError
from labrun.tasks.guest.facts.files import FoundFile, found_files
from labrun.tasks.guest.shell import Captured, Facts

PATH, DIGEST = "/etc/motd", "a" * 64


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (base64.b64encode(b"hello\n").decode(), b"hello\n"),
        ("", b""),
        ("not base64", None),
        ("aGVsbG8\u2026", None),
    ],
)
def test_a_content_that_is_no_base64_is_not_known(text: str, content: bytes | None) -> None:
    said = {
        "files-stat": Captured(f"644 root root {PATH}\n", 0),
        "files-hash": Captured(f"{DIGEST}  {PATH}\n", 0),
        "file-text-0": Captured(text, 0),
    }
    assert found_files([PATH], Facts({}, said)) == {PATH: FoundFile("0644", "root", "root", DIGEST, content)}


@pytest.mark.parametrize("mode", ["", "8", '{"a":1}440', "-644", "0o644", "\u0664\u0664\u0664", "7" * 40])
def test_a_mode_that_is_no_octal_number_is_said(mode: str) -> None:
    said = {
        "files-stat": Captured(f"{mode} root root {PATH}\n", 0),
        "files-hash": Captured(f"{DIGEST}  {PATH}\n", 0),
    }
    with pytest.raises(UnreadableError, match=f"the mode of {PATH} is not octal"):
        found_files([PATH], Facts({}, said))


@pytest.mark.parametrize("line", ["644 root root", "644  ", "   ", f"{PATH}", "644 root root /etc/other"])
def test_a_line_about_no_file_that_was_asked_for_is_passed_over(line: str) -> None:
    said = {
        "files-stat": Captured(f"{line}\n", 0),
        "files-hash": Captured(f"{DIGEST}  {PATH}\n", 0),
    }
    assert found_files([PATH], Facts({}, said)) == {}
