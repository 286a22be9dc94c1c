"""A page of the documentation as its reader sees it: files to write, commands to type, what they print.

A block is what the comment above it says: ``lab.yaml``, the file; ``added to lab.yaml``, a host more;
``removed from lab.yaml``, that host again; ``not typed``, nothing. Else a ``console`` block is typed, and any
other is part of what the last command printed. A line ``...`` stands for any number of lines, ``...`` in a
line for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Block", "blocks_of", "fits", "same_but_for_numbers"]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.+?) -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
# What differs from run to run: times, process ids, digests, MACs, IDs of runs.
_VARIES = (
    (re.compile(r"\b\d+(?:\.\d+)? (?:ms|s)\b"), "N s"),
    (re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b"), "MAC"),
    (re.compile(r'\b(digest|applied|version|active)="[^"]*"'), r'\1="..."'),
    (re.compile(r"-t \d+ -m"), "-t PID -m"),
    (re.compile(r"\b\d{2}:\d{2}(?::\d{2})?\b"), "TIME"),
)


@dataclass(frozen=True)
class Block:
    """One block of a page: ``note`` is the comment above it, ``line`` where it begins."""

    line: int
    language: str
    note: str
    text: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Return the commands that are typed, each with what it prints."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        return list(zip(parts[1::2], parts[2::2], strict=True))


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the code blocks of a page, in order."""
    for found in _BLOCK.finditer(page):
        line = page.count("\n", 0, found.start("language")) + 1
        yield Block(line, found["language"], found["note"] or "", found["text"])


def same_but_for_numbers(text: str) -> str:
    """Return a text with what differs from run to run made the same, and columns as wide as their text."""
    for pattern, word in _VARIES:
        text = pattern.sub(word, text)
    return "\n".join(re.sub(r" +", " ", line.rstrip()) for line in text.strip("\n").splitlines())


def fits(shown: str, printed: str, *, whole: bool) -> bool:
    """Return whether what a page shows is what a command printed, or a part of that."""
    lines = []
    for line in same_but_for_numbers(shown).splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*".join(re.escape(part) for part in line.split("...")) + r"\n")
    pattern, text = "".join(lines), same_but_for_numbers(printed) + "\n"
    return bool(re.fullmatch(pattern, text) if whole else re.search(f"^{pattern}", text, re.MULTILINE))
