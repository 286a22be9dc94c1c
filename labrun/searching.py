"""Searching what a guest printed for a pattern of the lab file: in time that grows with the text alone.

Python's own engine may try exponentially many ways: ``^(a+)+$`` takes minutes for forty characters. RE2 never
does. What it cannot do (references back, looking ahead) or does in another way is left to Python's in a
process of its own, which can be ended.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from labrun.errors import LabrunError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SearchError", "is_linear", "matches"]

_MEMORY = 8 * 1024 * 1024
# These mean something else to RE2, and it does not say so: {,n} and [[:alpha:]].
_OTHERWISE = re.compile(r"\{,|\[\[:")
# Letters of all scripts to Python, those of ASCII to RE2.
_CLASSES = re.compile(r"\\[wWdDsSbB]")
# White space to Python alone.
_SPACES = re.compile("[\x0b\x1c-\x1f]")

_CHILD = """\
import json, re, resource, sys
pattern, text, seconds = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
sys.exit(0 if re.search(pattern, text, re.MULTILINE) else 10)
"""
"""The limits hold for what outlives labrun, too."""
_FOUND, _NOT_FOUND = 0, 10


class SearchError(LabrunError):
    """Report a search that came to no end."""


def is_linear(pattern: str) -> bool:
    """Tell whether a pattern that Python takes can be searched for in linear time."""
    return _linear(pattern) is not None


def matches(pattern: str, text: str, seconds: float) -> bool:
    """Tell whether ``pattern`` is found in ``text``, ``^`` and ``$`` being ends of lines, as Python does it.

    Raises SearchError where that cannot be told within ``seconds``.
    """
    search = _linear(pattern)
    if search is not None and not (_CLASSES.search(pattern) and not _is_plain(text)):
        return search(text) is not None
    return _apart(pattern, text, seconds)


def _is_plain(text: str) -> bool:
    return text.isascii() and _SPACES.search(text) is None


@lru_cache(maxsize=256)
def _linear(pattern: str) -> Callable[[str], Any] | None:
    # 10 ms to import, for labs with such checks alone.
    import re2

    engine: Any = re2
    options = engine.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    try:
        found: Callable[[str], Any] = engine.compile(f"(?m){pattern}", options).search
        return None if _OTHERWISE.search(pattern) else found
    except engine.error:
        return None


def _apart(pattern: str, text: str, seconds: float) -> bool:
    order = json.dumps([pattern, text, int(seconds) + 1]).encode("ascii")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=order,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise SearchError(f"searching for {pattern} did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise SearchError(f"searching for {pattern} needs a process: {error.strerror}") from error
    if done.returncode not in (_FOUND, _NOT_FOUND):
        raise SearchError(f"searching for {pattern} takes more time or memory than it is given")
    return done.returncode == _FOUND
