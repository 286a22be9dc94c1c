"""What the words of `labrun tc` ask for, what tc is told, and what its listing means."""

from __future__ import annotations

import pytest

from labrun.errors import UsageError
from labrun.tasks.provision.link_quality import (
    NOTHING,
    Quality,
    qdisc_options,
    quality_of_options,
    quality_of_words,
)

WORDS = {
    "delay 40ms loss 5% rate 10mbit": Quality(delay=40_000, loss=5, rate=10_000_000),
    "delay 40ms 5ms": Quality(delay=40_000, jitter=5000),
    "loss 0.5 duplicate 1% corrupt 0.1%": Quality(loss=0.5, duplicate=1, corrupt=0.1),
    "rate 1.5gbit delay 1s": Quality(delay=1_000_000, rate=1_500_000_000),
    "rate 64KBIT": Quality(rate=64_000),
    "": NOTHING,
}


@pytest.mark.parametrize("words", WORDS)
def test_words_and_how_they_are_shown_again(words: str) -> None:
    wanted = quality_of_words(words.split())
    assert wanted == WORDS[words]
    if words:
        assert quality_of_words(str(wanted).split()) == wanted


REFUSED = {
    "delai 3ms": ('unknown word "delai"', 'did you mean "delay"?'),
    "3ms": ('unknown word "3ms"', "known: delay, loss, duplicate, corrupt, rate, such as delay 40ms"),
    "loss 5% loss 6%": ("loss is given twice", "leave one of them out"),
    "loss": ("loss has no value", "such as loss 5%"),
    "delay 40": ('"40" is not a value for delay', "such as 40ms; units: us, ms, s"),
    "delay 61s": ("delay 61s is out of range", "10us to 60s"),
    "delay 9us": ("delay 9us is out of range", "10us to 60s"),
    "delay 1ms 1us": ("jitter 1us is out of range", "10us to 2s"),
    "delay 60s 3s": ("jitter 3s is out of range", "10us to 2s"),
    "delay 1ms 5": ('"5" is not a value for jitter', "such as 5ms; units: us, ms, s"),
    "loss 0%": ("loss 0% is out of range", "above 0% and at most 100%"),
    "loss 100.1%": ("loss 100.1% is out of range", "above 0% and at most 100%"),
    "rate 10MB": ('"10MB" is not a value for rate', "such as 10mbit; units: bit, kbit, mbit, gbit"),
    "rate 1bit": ("rate 1bit is out of range", "8kbit to 100gbit"),
    "rate -1mbit": ('"-1mbit" is not a value for rate', "such as 10mbit; units: bit, kbit, mbit, gbit"),
    "delay 1ms 2ms 3ms": (
        'unknown word "3ms"',
        "known: delay, loss, duplicate, corrupt, rate, such as delay 40ms",
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        quality_of_words(words.split())
    assert (caught.value.reason, caught.value.hint) == REFUSED[words]


def test_a_rate_alone_is_tbf_s_and_everything_else_netem_s() -> None:
    tbf = "tbf rate 10000000bit burst 25000b latency 50ms"
    assert " ".join(qdisc_options(Quality(rate=10_000_000))) == tbf
    netem = "netem limit 10000 delay 40000us 5000us loss 5% rate 10000000bit"
    assert " ".join(qdisc_options(Quality(delay=40_000, jitter=5000, loss=5, rate=10_000_000))) == netem


# As `tc -j qdisc show` printed them: tbf's in Debian 12, netem's in a VM of it, after labrun's own commands.
LISTED = [
    ("tbf", {"rate": 1250000, "burst": 32767, "lat": 50000}, Quality(rate=10_000_000)),
    (
        "netem",
        {
            "limit": 10000,
            "delay": {"delay": 0.04, "jitter": 0.005, "correlation": 0},
            "loss-random": {"loss": 0.05, "correlation": 0},
            "rate": {"rate": 1250000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0},
            "ecn": False,
            "gap": 0,
        },
        Quality(delay=40_000, jitter=5000, loss=5, rate=10_000_000),
    ),
    (
        "netem",
        {
            "limit": 10000,
            "delay": {"delay": 1.9e-05, "jitter": 0, "correlation": 0},
            "loss-random": {"loss": 1.00001e-06, "correlation": 0},
            "duplicate": {"duplicate": 0.33333, "correlation": 0},
            "corrupt": {"corrupt": 0.001, "correlation": 0},
            "ecn": False,
            "gap": 0,
        },
        Quality(delay=20, loss=0.0001, duplicate=33.333, corrupt=0.1),
    ),
    (
        "netem",
        {"limit": 10000, "delay": {"delay": 0.000998, "jitter": 0, "correlation": 0}, "ecn": False, "gap": 0},
        Quality(delay=999),
    ),
    (
        "netem",
        {
            "limit": 10000,
            "rate": {"rate": 12500000000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0},
            "ecn": False,
            "gap": 0,
        },
        Quality(rate=100_000_000_000),
    ),
    ("netem", {"delay": "garbage", "loss-random": {"loss": float("nan")}, "rate": [1]}, NOTHING),
    ("fq_codel", {"limit": 10240}, NOTHING),
]


@pytest.mark.parametrize(("kind", "options", "expected"), LISTED)
def test_a_listing(kind: str, options: dict[str, object], expected: Quality) -> None:
    assert quality_of_options(kind, options).is_about(expected)


def test_what_the_kernel_rounds_is_the_same_and_another_value_is_not() -> None:
    wanted = Quality(delay=40_000, loss=5)
    assert Quality(delay=39_999, loss=5.0001).is_about(wanted)
    assert Quality(delay=9, jitter=9).is_about(Quality(delay=10, jitter=10))
    assert not Quality(delay=41_000, loss=5).is_about(wanted)
    assert not Quality(delay=10).is_about(Quality(delay=20))
    assert not NOTHING.is_about(Quality(delay=10))
    assert not NOTHING.is_about(Quality(loss=0.000001))
    assert not NOTHING.is_about(Quality(loss=0.5))
