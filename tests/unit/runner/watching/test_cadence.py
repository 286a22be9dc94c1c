"""When the runs of a loop are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.errors import UsageError
from labrun.runner.watching.cadence import Cadence, cadence_of, default_jitter, seconds_of


def test_without_jitter_the_cadence_is_fixed_and_the_first_run_is_at_once() -> None:
    cadence = Cadence(60.0)
    assert [cadence.due(number) for number in range(4)] == [0, 60, 120, 180]


def test_the_length_of_a_run_moves_nothing() -> None:
    assert Cadence(60.0).after(0, 1.0) == Cadence(60.0).after(0, 59.0) == 1


def test_runs_whose_moment_has_passed_are_left_out() -> None:
    cadence = Cadence(60.0)
    assert cadence.after(3, 3 * 60 + 61) == 5
    assert cadence.after(0, 1000.0) == 17
    assert cadence.due(17) >= 1000.0


@given(st.floats(1, 1e6), st.floats(0, 0.99), st.text(), st.integers(0, 10_000), st.floats(0, 3))
def test_the_next_run_is_later_than_the_end_of_the_last_and_its_delay_is_bounded(
    every: float, share: float, seed: str, number: int, length: float
) -> None:
    cadence = Cadence(every, share * every, seed)
    elapsed = cadence.due(number) + length * every
    following = cadence.after(number, elapsed)
    assert following > number
    assert cadence.due(following) >= elapsed
    # Nor is one left out that could still be on time.
    assert all(cadence.due(between) < elapsed for between in range(number + 1, following))
    assert (
        0 <= cadence.due(following) - following * every <= share * every * 1.0001 + 1e-6 * following * every
    )


def test_the_same_seed_has_the_same_delays_and_another_has_others() -> None:
    def delays(seed: str) -> list[float]:
        return [Cadence(60.0, 10.0, seed).due(number) - number * 60.0 for number in range(1, 30)]

    assert delays("a") == delays("a")
    assert delays("a") != delays("b")
    assert len(set(delays("a"))) > 20


def test_the_default_jitter_is_a_tenth_and_at_most_a_minute() -> None:
    assert [default_jitter(every) for every in (10.0, 300.0, 900.0)] == [1.0, 30.0, 60.0]
    assert cadence_of("15m", None, "x") == Cadence(900.0, 60.0, "x")
    assert cadence_of("15m", "0", "x") == Cadence(900.0, 0.0, "x")
    assert cadence_of("1h30m", "5m", "x") == Cadence(5400.0, 300.0, "x")


@pytest.mark.parametrize(
    ("every", "jitter", "message"),
    [
        ("soon", None, '--every: "soon" is not a duration'),
        ("0s", None, '--every: "0s" is not a duration'),
        ("15", None, '--every: "15" is not a duration'),
        ("15m", "1", '--jitter: "1" is not a duration'),
        ("1m", "60s", "--jitter: 60s must be less than the interval 1m"),
    ],
)
def test_what_is_no_cadence_is_refused(every: str, jitter: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        cadence_of(every, jitter, "")
    assert caught.value.reason == message


def test_nothing_is_a_duration_only_where_it_may_be() -> None:
    assert seconds_of("--jitter", "0", zero=True) == 0.0
    with pytest.raises(UsageError):
        seconds_of("--every", "0")
