"""Keep secrets from being shown: find properties that are secret by name, and mask secret texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

from labrun.outcome import Outcome

__all__ = ["MASK", "Secrets", "is_secret", "mask_settings"]

MASK = "<secret>"
"""The placeholder for a secret."""

# The last part of a property's name, as in NetworkManager's settings and kernel parameters.
_WORDS = (
    "leap-password",
    "mka-cak",
    "passphrase",
    "password",
    "password-raw",
    "peers",  # of WireGuard, with preshared keys inside
    "pin",
    "preshared-key",
    "private-key",
    "psk",
    "secret",
    "secrets",
    "stable_secret",
    "tcp_fastopen_key",
)
_SECRET = re.compile(
    rf"(.+-)?({'|'.join(_WORDS)})|wep-key\d*|(phase2-)?(ca-cert|client-cert|private-key)-p[a-z]*"
)
# nmcli accepts any unambiguous prefix of a property's name.
_SHORTEST = 3
_LONGER = (*(word for word in _WORDS if "_" not in word), "phase2-private-key")
_QUOTED = re.compile(r"(?P<mark>['\"])(?P<said>[^\n]*?)(?P=mark)")
# A line ``name=value`` of a file, also inside a string that Python printed with escapes. A guest may print a
# word of a megabyte: it is scanned once, and not again from each of its letters.
_SETTING = re.compile(
    r"(?P<before>\\n|(?<![A-Za-z0-9_./-]))(?P<name>[A-Za-z0-9_./-]++)(?P<sign> ?= ?)"
    r"(?P<value>(?:(?!\\n)[^\n])++)"
)
# The gather script prints /proc/sys this way: the path on one line, the value on the next.
_PARAMETER = re.compile(r"(?P<path>/proc/sys/\S{1,300}?)(?P<end>\\n|\n)(?P<value>(?:(?!\\n)[^\n])++)")
# Most host output contains none of these, and searching for settings takes a while.
_SIGNS = re.compile("|".join(word for word in _WORDS if word != "pin") + "|wep-key|pin ?=")
# A shorter text is hardly a secret, and replacing it everywhere would garble every row.
_SUBSTRING = 4
# In a whole file, a shorter line is a word that may occur anywhere.
_LINE = 8


def is_secret(name: str) -> bool:
    """Return whether the value of a property or kernel parameter of this name is a secret.

    ``802-1x.password``, ``wifi-sec.psk`` and ``802-1x.private-key-pass`` (nmcli's short form) are secrets,
    ``802-1x.password-flags`` is not.
    """
    last = name.lower().rpartition(".")[2].rpartition("/")[2]
    if _SECRET.fullmatch(last):
        return True
    return len(last) >= _SHORTEST and any(word.startswith(last) for word in _LONGER)


def mask_settings(text: str) -> str:
    """Return the text with the value of every setting ``name=value`` masked whose name is secret.

    For raw host output, when it is not known yet which of its texts are secret.
    """
    if not _SIGNS.search(text):
        return text
    return _PARAMETER.sub(_parameter, _SETTING.sub(_setting, text))


def _setting(match: re.Match[str]) -> str:
    masked = f"{match['before']}{match['name']}{match['sign']}{MASK}"
    return masked if is_secret(match["name"]) else match[0]


def _parameter(match: re.Match[str]) -> str:
    return f"{match['path']}{match['end']}{MASK}" if is_secret(match["path"]) else match[0]


@dataclass(frozen=True)
class Secrets:
    """The secret texts of one host; falsy if there are none."""

    texts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Secrets:
        """Return the secrets among ``texts``. Empty ones are dropped."""
        return cls(frozenset(text for text in texts if text.strip()))

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __or__(self, other: Secrets) -> Secrets:
        return Secrets(self.texts | other.texts)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        spelled = sorted({form for text in self.texts for form in _forms(text)}, key=len, reverse=True)
        words = (
            re.escape(form) if len(form) >= _SUBSTRING else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in spelled
        )
        return re.compile("|".join(words))

    @overload
    def mask(self, text: str) -> str: ...

    @overload
    def mask(self, text: None) -> None: ...

    def mask(self, text: str | None) -> str | None:
        """Return the text with every secret in it replaced by :data:`MASK`, in any of its spellings.

        A quoted part of a secret is masked as well: tools quote the part that they reject.
        """
        if not text or not self.texts:
            return text
        return _QUOTED.sub(self._piece, self._pattern.sub(MASK, text))

    def _piece(self, match: re.Match[str]) -> str:
        said = match["said"].strip(" ;,")
        hides = len(said) >= _SHORTEST and any(said in text for text in self.texts)
        return f"{match['mark']}{MASK}{match['mark']}" if hides else match[0]

    def masked(self, outcome: Outcome) -> Outcome:
        """Return the row with its secrets masked."""
        if not self.texts:
            return outcome
        return replace(
            outcome,
            name=self.mask(outcome.name),
            expected=self.mask(outcome.expected),
            actual=self.mask(outcome.actual),
            why=self.mask(outcome.why),
            diff=self.mask(outcome.diff),
        )


def _forms(text: str) -> Iterable[str]:
    """Yield the spellings of a secret: plain, quoted for a shell, in a keyfile, in Python and JSON.

    Each line of a multi-line secret is secret too.
    """
    yield text
    yield text.strip()
    yield text.replace("'", "'\"'\"'")
    keyfile = text.strip().replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    yield keyfile
    yield keyfile.replace(";", "\\;")
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    lines = text.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _LINE)
