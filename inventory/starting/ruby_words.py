"""The words and signs of one statement of Ruby."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Token", "tokens"]

_TOKEN: Final = re.compile(
    r"""
      (?P<text>"(?:[^"\\#]|\\.|\#(?!\{)|\#\{[^{}]*\})*+"|'(?:[^'\\]|\\.)*+')(?P<names>:(?![:\w]))?
    | %[wi](?P<words>\[[^\]]{0,2000}\]|\([^)]{0,2000}\)|\{[^}]{0,2000}\})
    | (?P<key>[A-Za-z_]\w*+[?!]?):(?!:)(?=\s|["'\[{\d]|$)
    | (?P<symbol>:(?:[A-Za-z_]\w*+|"[^"\#]*"))
    | (?P<number>\d[\d_]*+)
    | (?P<name>[$@]{0,2}[A-Za-z_]\w*+(?:[?!](?!=))?)
    | (?P<sign>=>|\.\.\.?|\|\||&&|[=!<>]=|[-+*/%]=|\S)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign: its kind (``text``, ``key``, ``name`` ...), its text, and where it begins and ends."""

    kind: str
    text: str
    begin: int
    end: int


def tokens(text: str) -> list[Token]:
    """Return the words and signs of one statement."""
    found = []
    for match in _TOKEN.finditer(text):
        kind = "words" if match["words"] else "label" if match["names"] else str(match.lastgroup)
        found.append(Token(kind, match[0], match.start(), match.end()))
    return found
