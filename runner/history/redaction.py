"""Remove secrets from text before it is stored; only unambiguous patterns, no guessing."""

from __future__ import annotations

import re

from labrun.secrets import MASK

__all__ = ["redacted"]


# Lengths are bounded: a guest may print a line of a megabyte, and a match may start at every position.
_NAME = r"(?:password|passwd|passphrase|secret|psk|token|api[_-]?key|private[_-]?key|wep-key\d|\.pin)"
# Leave text that is already masked.
_VALUE = r"""(?!<secret>|\(redacted\))(?:"[^"\n]*"|'[^'\n]*'|[^\s"',;&]+)"""
_PRIVATE = r"[A-Z0-9 ]{0,40}PRIVATE KEY-----"
# A truncated block is as secret as a whole one.
_BLOCK = re.compile(
    rf"(-----BEGIN {_PRIVATE})(?!<secret>|\(redacted\)).*?(?:-----END {_PRIVATE}|\Z)", re.DOTALL
)
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(://[^\s/:@]{0,64}:)[^\s/@]+(?=@)"), rf"\1{MASK}"),
    (
        re.compile(r"([?&][\w-]{0,40}?(?:token|key|secret|sig|signature|auth|password)=)[^&\s\"']+", re.I),
        rf"\1{MASK}",
    ),
    (re.compile(r"(\bauthorization:\s*(?:[a-z]+[ \t]+)?)[^\s\"']+", re.I), rf"\1{MASK}"),
    (re.compile(r"(\bbearer[ \t]+)[\w.~+/-]{8,}=*", re.I), rf"\1{MASK}"),
    (re.compile(rf"({_NAME}[\"']?\s*[=:]\s*){_VALUE}", re.I), rf"\1{MASK}"),
    # Separated by blanks only if the name is an option or a setting: prose mentions passwords, too.
    (re.compile(rf"((?:--|\b\w[\w-]{{0,40}}\.)[\w-]{{0,40}}?{_NAME}\s+){_VALUE}", re.I), rf"\1{MASK}"),
    # Password hashes of crypt(3) can be attacked offline.
    (re.compile(r"\$(?:1|5|6|y|2[aby])\$[^\s:'\"]{8,}"), MASK),
)
# Few rows and lines contain one of these; this test costs a tenth of the patterns.
_SIGNS = ("key", "://", "token", "secret", "sig", "auth", "pass", "bearer", "psk", ".pin", "$")


def redacted(text: str) -> str:
    """Return the text with the values of obvious secrets replaced by :data:`MASK`.

    These are private keys, passwords in URLs, tokens, ``password=``, ``psk=`` and the like, password
    hashes.
    """
    lower = text.lower()
    if not any(sign in lower for sign in _SIGNS):
        return text
    text = _BLOCK.sub(rf"\1{MASK}", text)
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    lower = line.lower()
    if not any(sign in lower for sign in _SIGNS):
        return line
    for pattern, instead in _SHAPES:
        line = pattern.sub(instead, line)
    return line
