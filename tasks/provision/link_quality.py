"""The quality that a link is given: the words of ``labrun tc``, and tc's options for them, both ways.

Delay, loss, duplicates and corruption are of the kernel's netem; a rate alone is of its tbf, which kernels
without netem have as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from labrun.errors import UsageError
from labrun.inventory.file.problems import did_you_mean

__all__ = ["NOTHING", "WORDS", "Quality", "qdisc_options", "quality_of_options", "quality_of_words"]

WORDS: Final = ("delay", "loss", "duplicate", "corrupt", "rate")
_TIMES: Final = {"us": 1, "ms": 1000, "s": 1_000_000}
_RATES: Final = {"bit": 1, "kbit": 1000, "mbit": 10**6, "gbit": 10**9}
_NUMBER: Final = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)(?P<unit>[A-Za-z%]*)")
_EXACT: Final = ("loss", "duplicate", "corrupt", "rate")
# tc counts times in parts of a microsecond and rounds them down, twice: 1 us is none, 999 us are 998.
_ROUNDED: Final = 2
_SHORTEST: Final = 10
_LONGEST: Final = 60_000_000
# netem has it as nanoseconds in 31 bits, and takes the largest for whatever is more.
_MOST_JITTER: Final = 2_000_000
_SLOWEST: Final = 8000
_FASTEST: Final = 100 * 10**9
_WHOLE: Final = 100.0
_DIGITS: Final = 8
# Packets that netem holds at most: at 1 Gbit/s more than 100 ms of them.
_HELD: Final = 10000
_LEAST_BURST: Final = 3200


@dataclass(frozen=True, slots=True)
class Quality:
    """What packets meet: ``delay`` and its variation ``jitter`` in microseconds, ``rate`` in bit/s.

    ``loss``, ``duplicate`` and ``corrupt`` are per cent. 0 = as it is without.
    """

    delay: int = 0
    jitter: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: int = 0

    @property
    def needs_netem(self) -> bool:
        """Tell whether tbf is not enough."""
        return bool(self.delay or self.loss or self.duplicate or self.corrupt)

    def __str__(self) -> str:
        parts = [f"delay {_time(self.delay)}"] if self.delay else []
        parts += [_time(self.jitter)] if self.jitter else []
        for key in ("loss", "duplicate", "corrupt"):
            if value := getattr(self, key):
                parts.append(f"{key} {value:g}%")
        parts += [f"rate {_rate(self.rate)}"] if self.rate else []
        return " ".join(parts) or "none"

    def is_about(self, other: Quality) -> bool:
        """Tell whether it is the other, but for what the kernel and tc round."""
        pairs = [(getattr(self, key), getattr(other, key)) for key in _EXACT]
        times = ((self.delay, other.delay), (self.jitter, other.jitter))
        return all(math.isclose(one, two, rel_tol=1e-3) for one, two in pairs) and all(
            math.isclose(one, two, rel_tol=1e-3, abs_tol=_ROUNDED) for one, two in times
        )


NOTHING = Quality()
"""A link as it is."""


def _time(micros: int) -> str:
    for unit, size in (("s", 1_000_000), ("ms", 1000)):
        if micros >= size:
            return f"{micros / size:g}{unit}"
    return f"{micros}us"


def _rate(bits: int) -> str:
    for unit, size in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 1000)):
        if bits >= size:
            return f"{bits / size:g}{unit}"
    return f"{bits}bit"


def quality_of_words(words: Sequence[str]) -> Quality:
    """Return what ``delay 40ms 5ms loss 5% rate 10mbit`` asks for. Raises UsageError."""
    left, given = list(words), dict[str, Any]()
    while left:
        key = left.pop(0)
        if key not in WORDS:
            hint = did_you_mean(key, WORDS) or f"known: {', '.join(WORDS)}, such as delay 40ms"
            raise UsageError(f'unknown word "{key}"', step="tc", hint=hint)
        if key in given:
            raise UsageError(f"{key} is given twice", step="tc", hint="leave one of them out")
        if not left:
            raise UsageError(f"{key} has no value", step="tc", hint=f"such as {key} {_EXAMPLES[key]}")
        given[key] = _READERS[key](key, left.pop(0))
        if key == "delay" and left and _NUMBER.fullmatch(left[0]):
            given["jitter"] = _micros("jitter", left.pop(0), _MOST_JITTER)
    return Quality(**given)


_EXAMPLES: Final = {
    "delay": "40ms",
    "jitter": "5ms",
    "loss": "5%",
    "duplicate": "1%",
    "corrupt": "1%",
    "rate": "10mbit",
}


def _value(key: str, word: str, units: Mapping[str, float]) -> float:
    match = _NUMBER.fullmatch(word)
    unit = match["unit"].lower() if match else ""
    if match is None or unit not in units:
        known = ", ".join(each for each in units if each)
        raise UsageError(
            f'"{word}" is not a value for {key}', step="tc", hint=f"such as {_EXAMPLES[key]}; units: {known}"
        )
    return float(match["number"]) * units[unit]


def _micros(key: str, word: str, most: int = _LONGEST) -> int:
    found = round(_value(key, word, _TIMES))
    if not _SHORTEST <= found <= most:
        raise UsageError(f"{key} {word} is out of range", step="tc", hint=f"10us to {_time(most)}")
    return found


def _percent(key: str, word: str) -> float:
    found = _value(key, word, {"%": 1, "": 1})
    if not 0 < found <= _WHOLE:
        raise UsageError(f"{key} {word} is out of range", step="tc", hint="above 0% and at most 100%")
    return found


def _bits(key: str, word: str) -> int:
    found = round(_value(key, word, _RATES))
    if not _SLOWEST <= found <= _FASTEST:
        raise UsageError(f"{key} {word} is out of range", step="tc", hint="8kbit to 100gbit")
    return found


_READERS: Final[Mapping[str, Callable[[str, str], float]]] = {
    "delay": _micros,
    "loss": _percent,
    "duplicate": _percent,
    "corrupt": _percent,
    "rate": _bits,
}


def qdisc_options(wanted: Quality) -> list[str]:
    """Return the kind of the qdisc and its options, as tc takes them."""
    if not wanted.needs_netem:
        # Packets of 20 ms at once, and no more than 50 ms of them wait.
        burst = max(_LEAST_BURST, wanted.rate // 8 // 50)
        return ["tbf", "rate", f"{wanted.rate}bit", "burst", f"{burst}b", "latency", "50ms"]
    words = ["netem", "limit", str(_HELD)]
    if wanted.delay:
        words += ["delay", f"{wanted.delay}us", *([f"{wanted.jitter}us"] if wanted.jitter else [])]
    for key in ("loss", "duplicate", "corrupt"):
        if value := getattr(wanted, key):
            words += [key, f"{value:g}%"]
    return [*words, *(["rate", f"{wanted.rate}bit"] if wanted.rate else [])]


def quality_of_options(kind: str, options: Mapping[str, Any]) -> Quality:
    """Return what a qdisc that ``tc -j qdisc show`` has listed does; of an unknown kind, nothing."""
    if kind == "tbf":
        return Quality(rate=round(_number(options, "rate") * 8))
    if kind != "netem":
        return NOTHING
    delay, rate = _part(options, "delay"), _part(options, "rate")
    return Quality(
        delay=round(_number(delay, "delay") * 1_000_000),
        jitter=round(_number(delay, "jitter") * 1_000_000),
        loss=round(_number(_part(options, "loss-random"), "loss") * _WHOLE, _DIGITS),
        duplicate=round(_number(_part(options, "duplicate"), "duplicate") * _WHOLE, _DIGITS),
        corrupt=round(_number(_part(options, "corrupt"), "corrupt") * _WHOLE, _DIGITS),
        rate=round(_number(rate, "rate") * 8),
    )


def _part(options: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = options.get(key)
    return found if isinstance(found, dict) else {}


def _number(options: Mapping[str, Any], key: str) -> float:
    found = options.get(key, 0)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and math.isfinite(found) else 0.0
