"""The words and signs of one statement of Ruby."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Token", "tokens"]

_KINDS: Final = {
    "text": r""""(?:[^"\\#]|\\.|#(?!\{)|#\{[^{}]*\})*+"(?P<names>:(?![:\w]))?|'(?:[^'\\]|\\.)*+'""",
    "words": r"%[wi](?:\[[^\]]{0,2000}\]|\([^)]{0,2000}\)|\{[^}]{0,2000}\})",
    "key": r"""[A-Za-z_]\w*+[?!]?:(?!:)(?=\s|["'\[{\d]|$)""",
    "symbol": r':(?:[A-Za-z_]\w*+|"[^"#]*")',
    "number": r"\d[\d_]*+",
    "name": r"[$@]{0,2}[A-Za-z_]\w*+(?:[?!](?!=))?",
    "sign": r"=>|\.\.\.?|\|\||&&|[=!<>]=|[-+*/%]=|\S",
}
_TOKEN: Final = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))


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
        kind = "label" if match["names"] else str(match.lastgroup)
        found.append(Token(kind, match[0], match.start(), match.end()))
    return found
