"""Options on sshd's command line: what another sshd was started with, and what the next start gives it.

They count before all files, and ``sshd -T`` knows only those of the sshd that runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.tasks.guest.facts.sshd import is_as_strict, meets, plain_value
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["OPTIONS", "loosened"]

# The variables that the units of Debian and Red Hat pass on.
_VARIABLES = {"/etc/default/ssh": "SSHD_OPTS", "/etc/sysconfig/sshd": "OPTIONS"}
_UNITS = tuple(
    f"/etc/systemd/system/{name}.service{each}" for name in ("ssh", "sshd") for each in ("", ".d/*.conf")
)
OPTIONS = Probe((*_VARIABLES, *_UNITS), guest_script("sshd_others"))
"""Reads what the next start of sshd gets, and what others run with; to be used after ``probe`` of sshd."""

_START = re.compile(r"ExecStart\s*+=[-@:+!]*+(.*)")
_ASSIGNED = re.compile(r"(?:export\s++)?(\w{1,40})=(.*)")
_MAIN = "/etc/ssh/sshd_config"
_LONGEST = 4000


def loosened(facts: Facts, want: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return why a keyword is less strict for others, or from the next start on, by keyword.

    ``want`` has the values as ``plain_value`` returns them. The options that the running sshd has are left
    out: what follows from them is in effect.
    """
    found: dict[str, str] = {}
    running = _words(facts.word("sshd-with") or "")
    for where, words in _lines(facts):
        if words == running:
            continue
        given, file = _options(words)
        if file not in ("", _MAIN):
            found.update({key: f"{where} {file} in place of {_MAIN}" for key in want if key not in found})
        for key, value in given.items():
            values = want.get(key)
            if values is not None and not _is_kept(key, values, value):
                found[key] = f"{where} {key} {value}"
    return found


def _is_kept(key: str, want: Sequence[str], have: str) -> bool:
    if meets(key, want, {key: (have,)}):
        return True
    return len(want) == 1 and is_as_strict(key, want[0], have)


def _lines(facts: Facts) -> Iterator[tuple[str, list[str]]]:
    """Yield where options stand, as the beginning of a sentence, and their words."""
    for word in sorted(facts.words):
        kind, _, title = word.partition(" ")
        if kind == "sshd-other":
            yield "another sshd runs here with", _words(title)
    for path, variable in _VARIABLES.items():
        for name, value in _assigned(facts.files.get(path, "")):
            if name == variable:
                yield f"{path} gives sshd at its next start", _words(" ".join(_words(value)))
    for path in sorted(facts.files):
        if path.startswith(("/etc/systemd/system/ssh.service", "/etc/systemd/system/sshd.service")):
            text = facts.files[path].replace("\\\n", " ")
            require_lines(text, path, SETTINGS_LINES)
            for line in text.splitlines():
                start = _START.fullmatch(line.strip()[:_LONGEST])
                if start is not None and "sshd" in start[1]:
                    yield f"{path} gives sshd at its next start", _words(start[1])


def _assigned(text: str) -> Iterator[tuple[str, str]]:
    require_lines(text, "options of sshd", SETTINGS_LINES)
    for line in text.splitlines():
        found = _ASSIGNED.fullmatch(line.strip()[:_LONGEST])
        if found is not None:
            yield found[1], found[2]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text[:_LONGEST], comments=True)
    except ValueError:
        return text[:_LONGEST].split()


def _options(words: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return what ``-o`` sets, first come, first served, and the file of ``-f``, empty without one."""
    given: dict[str, str] = {}
    file = ""
    rest = iter(words)
    for word in rest:
        if word.startswith("-f"):
            file = word[2:] or next(rest, "")
        elif word.startswith("-o"):
            setting = word[2:] or next(rest, "")
            key, _, value = setting.replace("=", " ", 1).strip().partition(" ")
            given.setdefault(key.lower(), plain_value(key.lower(), value))
    return given, file
