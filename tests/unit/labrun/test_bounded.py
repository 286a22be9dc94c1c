"""What hosts print, read within bounds: every excess and every wrong type is an error in words, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.bounded import (
    as_address,
    as_integer,
    as_interface,
    as_list,
    as_object,
    as_prefix,
    as_text,
    integer,
    objects,
    read_json,
    require_lines,
)
from labrun.errors import UnreadableError

WHAT = "ip address"


def fault(read: Callable[[], object]) -> str:
    """Return why something cannot be read, having looked that this took no time."""
    began = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        read()
    assert time.process_time() - began < 2
    assert caught.value.step == WHAT
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[1,]", "not JSON"),
        ('{"a": 1', "not JSON"),
        ('"open', "not JSON"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("{}" * 7_500_000, "15000000 characters, more than 4194304"),
        ("\n" * 15_000_000, "15000000 characters, more than 4194304"),
        ("[" + "{}," * 200_000 + "{}]", "more than 250000 values"),
        ("[" + "1," * 300_000 + "1]", "more than 250000 values"),
        ('"' + '\\"' * 2_000_000, "not JSON"),
        ("[" + "1" * 5000 + "]", "a number of more than 40 digits"),
        ("1" * 5000, "a number of more than 40 digits"),
        ("[0." + "1" * 5000 + "]", "a number of more than 40 digits"),
        ("[1e999]", "a number that is too large"),
        ("[NaN]", "NaN in place of a number"),
        ("[-Infinity]", "-Infinity in place of a number"),
    ],
)
def test_what_is_no_json_or_too_much_of_it(text: str, reason: str) -> None:
    assert fault(lambda: read_json(text, WHAT)) == reason


def test_brackets_and_digits_in_texts_do_not_count() -> None:
    texts = ["[" * 1000, '{\\"' * 1000, "9" * 1000, "," * 300_000]
    assert read_json(json.dumps(texts), WHAT) == texts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_ordinary_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value), WHAT) == value
    assert read_json(json.dumps(value, ensure_ascii=False), WHAT) == value


def test_half_a_surrogate_pair_does_not_get_through() -> None:
    found = read_json('["a\\ud800b", "\\ud83d\\ude42", "\\\\ud800", {"\\udfff": 1}]', WHAT)
    assert found == ["a?b", "🙂", "\\ud800", {"?": 1}]
    json.dumps(found, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        (" 7\n", 7),
        ("-7", None),
        ("", None),
        ("7.0", None),
        ("\u0667", None),
        ("²", None),
        ("1_0", None),
        ("0x7", None),
        ("1" * 5000, None),
        (2**64, None),
        (True, None),
        (7.0, None),
        (None, None),
        ([7], None),
    ],
)
def test_a_number_is_ascii_digits_within_its_range(value: object, number: int | None) -> None:
    assert integer(value) == number


def test_a_range_has_both_its_ends() -> None:
    assert [integer(each, least=-1, most=1) for each in (-2, -1, 1, "2")] == [None, -1, 1, None]


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda: objects([1, 2], WHAT, "links"), "not a list of links"),
        (lambda: objects({"a": 1}, WHAT, "links"), "not a list of links"),
        (lambda: objects([{"a": 1}] * 20_001, WHAT, "links"), "more than 20000 links"),
        (lambda: as_list("x", WHAT), "not a list"),
        (lambda: as_object([], WHAT), "not an object"),
        (lambda: as_text(3, WHAT), "3 in place of a text"),
        (lambda: as_text("x" * 5000, WHAT), "a text of 5000 characters"),
        (lambda: as_integer("x", WHAT), '"x" in place of a number'),
        (lambda: as_integer([], WHAT), "a list in place of a number"),
        (lambda: as_address(5, WHAT), "5 in place of an address"),
        (lambda: as_address("10.0.0.256", WHAT), '"10.0.0.256" in place of an address'),
        (lambda: as_address("1" * 5000, WHAT), '"' + "1" * 38 + "… in place of an address"),
        (lambda: as_interface("10.0.0.1/33", WHAT), '"10.0.0.1/33" in place of an address'),
        (lambda: as_prefix(None, WHAT), "null in place of a prefix"),
        (lambda: require_lines("\n" * 200_001, WHAT), "more than 200000 lines"),
    ],
)
def test_another_type_is_said_in_words(read: Callable[[], object], reason: str) -> None:
    assert fault(read) == reason


def test_an_empty_object_is_no_link() -> None:
    """What iproute2 prints in place of a link that was filtered out."""
    assert objects([{}, {"a": 1}], WHAT, "links") == [{"a": 1}]


def test_the_output_and_the_host_stand_in_front() -> None:
    assert UnreadableError("not a list of links", step=WHAT).on("evil") == (
        "ip address on evil: not a list of links"
    )
