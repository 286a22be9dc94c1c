"""What a VM's serial console has shown, without escape sequences and what labrun itself said there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["shown_on_console"]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_]|[()][0-9A-B])|[\x00-\x08\x0b-\x1f\x7f]")
# As templates/guest/console.sh prints them, and base64 between two of them.
_MARK = re.compile(r"labrun-[0-9a-f]{24} (?P<word>[a-z]+)\b.*")
_ENCODED = re.compile(r"[A-Za-z0-9+/]{1,76}={0,2}")


def shown_on_console(raw: bytes, most: int) -> str:
    """Return the last lines of a console's log, at most so many, empty ones left out."""
    text = _ESCAPES.sub("", raw.decode(errors="replace").replace("\r", "\n"))
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    return "\n".join([*_of_others(lines)][-most:])


def _of_others(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines that are not of a session of labrun's; the kernel's own may stand between them."""
    words = [found["word"] for line in lines if (found := _MARK.fullmatch(line))]
    # The log may begin in the middle of an answer.
    is_answer = bool(words) and words[0] == "end"
    for line in lines:
        found = _MARK.fullmatch(line)
        if found is not None:
            is_answer = found["word"] == "begin"
        elif not (is_answer and _ENCODED.fullmatch(line)):
            yield line
