"""Search guest output for a pattern from the lab file, in time linear in the length of the text.

Python's engine may backtrack exponentially: ``^(a+)+$`` takes minutes for forty characters. RE2 never does.
Patterns that RE2 does not support (backreferences, lookahead) or treats differently run in Python's engine,
in a separate process that can be killed.
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
# RE2 reads these differently without an error: {,n} and [[:alpha:]].
_OTHERWISE = re.compile(r"\{,|\[\[:")
# Python matches letters of all scripts, RE2 only those of ASCII.
_CLASSES = re.compile(r"\\[wWdDsSbB]")
# White space only for Python.
_SPACES = re.compile("[\x0b\x1c-\x1f]")

_CHILD = """\
import json, re, resource, sys
pattern, text, seconds = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
sys.exit(0 if re.search(pattern, text, re.MULTILINE) else 10)
"""
"""The limits also hold for a process that outlives labrun."""
_FOUND, _NOT_FOUND = 0, 10


class SearchError(LabrunError):
    """Report a search that did not finish."""


def is_linear(pattern: str) -> bool:
    """Return whether a pattern that Python accepts can be matched in linear time."""
    return _linear(pattern) is not None


def matches(pattern: str, text: str, seconds: float) -> bool:
    """Return whether ``pattern`` is in ``text``, with ``^`` and ``$`` matching at line ends, as in Python.

    Raises SearchError if the search does not finish within ``seconds``.
    """
    search = _linear(pattern)
    if search is not None and not (_CLASSES.search(pattern) and not _is_plain(text)):
        return search(text) is not None
    return _apart(pattern, text, seconds)


def _is_plain(text: str) -> bool:
    return text.isascii() and _SPACES.search(text) is None


@lru_cache(maxsize=256)
def _linear(pattern: str) -> Callable[[str], Any] | None:
    # The import takes 10 ms, so only labs with such checks pay for it.
    import re2

    engine: Any = re2
    options = engine.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    try:
        search: Callable[[str], Any] = engine.compile(f"(?m){pattern}", options).search
        return None if _OTHERWISE.search(pattern) else search
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
        raise SearchError(f"searching for {pattern} did not finish within {seconds:.0f} s") from None
    except OSError as error:
        raise SearchError(f"searching for {pattern} needs a process: {error.strerror}") from error
    if done.returncode not in (_FOUND, _NOT_FOUND):
        raise SearchError(f"searching for {pattern} exceeded its limit of time or memory")
    return done.returncode == _FOUND
