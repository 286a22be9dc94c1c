"""sshd's own words for values: what ``sshd -T`` prints, and when two spellings mean the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from labrun.bounded import SETTINGS_LINES, integer, require_lines

__all__ = ["effective_settings", "is_plain", "meets", "plain_value"]

_WORDS = frozenset(
    {
        "allowagentforwarding",
        "allowstreamlocalforwarding",
        "allowtcpforwarding",
        "gatewayports",
        "kbdinteractiveauthentication",
        "passwordauthentication",
        "permitemptypasswords",
        "permitrootlogin",
        "permittty",
        "pubkeyauthentication",
        "x11forwarding",
    }
)
_NUMBERS = frozenset({"clientalivecountmax", "maxauthtries", "maxsessions"})
_TIMES = frozenset({"clientaliveinterval", "logingracetime"})
_ALIASES = {"without-password": "prohibit-password", "true": "yes", "false": "no"}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"([0-9]{1,12})([smhdw]?)", re.IGNORECASE)
# Every file adds to these lists; what Debian's own file adds does not weaken anything.
_GROWING = frozenset({"acceptenv"})


def is_plain(key: str) -> bool:
    """Tell whether labrun can judge this keyword without asking sshd how it writes the value."""
    return key in _WORDS or key in _NUMBERS or key in _TIMES


def _seconds(text: str) -> str:
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return text
    return str(sum(int(number) * _UNITS[unit.lower()] for number, unit in parts))


def plain_value(key: str, value: str) -> str:
    """Return the value of a plain keyword as ``sshd -T`` writes it, aliases folded."""
    value = value.strip().strip('"')
    if key in _TIMES:
        return _seconds(value)
    if key in _NUMBERS and (number := integer(value)) is not None:
        return str(number)
    if key in _WORDS:
        value = value.lower()
        return _ALIASES.get(value, value)
    return value


def effective_settings(text: str) -> dict[str, tuple[str, ...]]:
    """Return what ``sshd -T`` printed: the values of each keyword, repeated ones in order."""
    require_lines(text, "sshd -T", SETTINGS_LINES)
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key:
            found.setdefault(key.lower(), []).append(plain_value(key.lower(), value))
    return {key: tuple(values) for key, values in found.items()}


def meets(key: str, want: Sequence[str], effective: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether the effective settings hold these values for ``key``."""
    have = effective.get(key, ())
    if key in _GROWING:
        return set(want) <= set(have)
    return sorted(want) == sorted(have)
