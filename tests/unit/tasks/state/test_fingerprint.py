"""What is recorded of a thing that is as wanted, and its text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.tasks.state.fingerprint import Fingerprint, as_text, digest_of, fingerprint, from_text, is_of
from labrun.tasks.state.item import Item
from tests.fuzz import examples
from tests.hostile import TEXTS

# An attribute's name is one word; settings of nmcli and of libvirt have dots, slashes, even an =.
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), max_size=20)
VALUES = TEXTS | st.text()


@settings(max_examples=examples(200))
@given(st.dictionaries(NAMES, st.tuples(VALUES, VALUES), max_size=6))
def test_what_is_written_is_read_back(sides: dict[str, tuple[str, str]]) -> None:
    applied = {key: Fingerprint(digest_of(one), digest_of(other)) for key, (one, other) in sides.items()}
    text = as_text(applied)
    assert from_text(text) == applied
    assert "\n" not in text


@settings(max_examples=examples(200))
@given(TEXTS)
def test_any_text_can_be_read(text: str) -> None:
    for key, (wanted, found) in from_text(text).items():
        assert wanted
        assert found
        assert not set(key) & set(" \n\t")


def test_what_is_no_record_is_empty() -> None:
    for text in ("", "x", "a b", "=", "a=", "a=/b"):
        assert from_text(text) == {}


def test_both_sides_are_recorded_where_the_host_spells_a_value_in_its_own_way() -> None:
    item = Item("x", {"a": "1", "b": "30"}, {"a": "1", "b": "30", "c": "?"}, seen={"b": "0:30"})
    assert fingerprint(item) == {
        "a": Fingerprint(digest_of("1"), digest_of("1")),
        "b": Fingerprint(digest_of("30"), digest_of("0:30")),
    }
    a, b = as_text(fingerprint(item)).split()
    assert (a, b) == (f"a={digest_of('1')}", f"b={digest_of('30')}/{digest_of('0:30')}")


def test_a_value_is_known_by_its_hash_also_by_the_shorter_one_of_earlier_versions() -> None:
    assert is_of(digest_of("x"), "x")
    assert is_of(digest_of("x")[:8], "x")
    assert not is_of(digest_of("x"), "y")
    assert not is_of("", "x")
    # What a guest has in its files need not be text.
    assert is_of(digest_of("\udcff"), "\udcff")
