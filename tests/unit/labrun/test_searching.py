"""Patterns of the lab file over what guests print: as Python finds them, in bounded time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.searching import SearchError, is_linear, matches

EVIL = "a" * 38 + "b"
# Each takes Python's own engine minutes for 38 characters.
EXPLOSIVE = ["^(a+)+$", "(a|a)*$", "^(a|aa)+$", "([a-z]+)*X", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]
APART = [r"^(a+)+\1$", r"^(?=(a+)+$)", r"^(a|a)*(?<=x)$", r"^(a+)+$\Z"]


@pytest.mark.parametrize("pattern", EXPLOSIVE)
@pytest.mark.parametrize("text", [EVIL, f"é{EVIL}", EVIL * 5000])
def test_no_pattern_that_re2_knows_takes_time(pattern: str, text: str) -> None:
    assert is_linear(pattern)
    began = time.process_time()
    matches(pattern, text, 5)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(("pattern", "seconds"), [(pattern, 0.3) for pattern in APART[1:]] + [(APART[0], 1)])
def test_what_needs_python_is_ended(pattern: str, seconds: float) -> None:
    assert not is_linear(pattern)
    began = time.monotonic()
    with pytest.raises(SearchError) as caught:
        matches(pattern, EVIL, seconds)
    assert caught.value.reason == f"searching for {pattern} did not finish within {seconds:.0f} s"
    assert time.monotonic() - began < 30


def test_letters_of_all_scripts_are_python_s_and_ended_too() -> None:
    began = time.monotonic()
    with pytest.raises(SearchError):
        matches(r"^(\w+)+$", "é" * 38 + "!", 1)
    assert time.monotonic() - began < 30
    assert matches(r"^(\w+)+$", "a" * 38 + "!", 1) is False


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^b$", "a\nb\n", True),
        ("^b$", "ab", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("(?i)É", "é", True),
        (r"\w", "é", True),
        (r"\d", "٣", True),
        (r"\s", "\x1c", True),
        (r"x{,2}y", "xxy", True),
        (r"^x{,2}$", "x{,2}", False),
        (r"(a)\1", "aa", True),
        (r"a(?=b)", "ab", True),
        (r"a\Z", "a\n", False),
        ("", "", True),
        (r"[[:alpha:]]", "q", False),
    ],
)
@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
def test_what_is_found_is_what_python_finds(pattern: str, text: str, found: bool) -> None:
    assert (re.search(pattern, text, re.MULTILINE) is not None) is found
    assert matches(pattern, text, 10) is found


PIECES = st.sampled_from(
    ["a", "b", ".", "^", "$", "[ab]", "[^a]", "(a|b)", "a*", "b+?", "a{1,2}", r"\w", r"\b"]
)


@given(st.lists(PIECES, max_size=5).map("".join), st.text("ab \n", max_size=8))
def test_re2_and_python_agree(pattern: str, text: str) -> None:
    assert is_linear(pattern)
    assert matches(pattern, text, 10) is (re.search(pattern, text, re.MULTILINE) is not None)
