"""Quotes from a host's journal about changes: NetworkManager's audit lines, sudo, sshd, timers and cron.

labrun's sessions are marked. A log does not prove identity, so the lines are kept as they are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from labrun.bounded import LATEST, as_list, as_object, integer, read_json
from labrun.errors import CommandError, UnreadableError
from labrun.moments import stamp
from labrun.secrets import Secrets
from labrun.tasks.guest.facts.applied import PATH
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Facts, Probe, gather_script, parse_facts

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["Line", "Logged", "journal_script", "read_journal"]

_ENTRIES = 800
_BYTES = 400_000
_OTHERS, _OWN, _TIMED = 20, 4, 6
_LONGEST, _LONGEST_SEARCHED = 400, 4096

_KEPT = {
    "NetworkManager": re.compile(r"audit: "),
    "sudo": re.compile(r"COMMAND=|authentication failure|incorrect password|NOT in sudoers"),
    "sshd": re.compile(r"Accepted |Failed |Invalid user |Received SIG|Received signal|Server listening "),
    "labrun": re.compile(""),
    **dict.fromkeys(("CRON", "crond"), re.compile(r"\) CMD ")),
    "systemd": re.compile(
        r"^(?:Started|Finished) (?!user@|user-runtime-dir@|labrun-|systemd-|apt-|dpkg-|man-db|e2scrub|fstrim"
        r"|motd-|logrotate|cloud-|packagekit|polkit|(?:serial-|console-)?getty|NetworkManager)"
        r"[\w@:.\\-]{1,80}\.service\b"
    ),
}
# What a clock starts says the same each time, and much starts at boot: it must not crowd out the others.
_BY_THE_CLOCK = frozenset({"CRON", "crond", "systemd"})
# All of these match within a line's first 400 characters.
_ACCEPTED = re.compile(r"Accepted publickey for (?P<user>\S+) .* (?P<key>SHA256:\S+)")
# labrun's scripts arrive on the standard input of this command, and of no other.
_OWN_COMMAND = re.compile(r"^\s*(?P<user>\S+) : .*COMMAND=\S*/sh -s$")
_COMMAND = re.compile(r"^\s*(?P<user>\S+) : ")


@dataclass(frozen=True, slots=True)
class Line:
    """One log line; ``time`` in seconds since the epoch, ``labrun`` = from one of labrun's sessions."""

    time: float
    source: str
    text: str
    labrun: bool = False


@dataclass(frozen=True, slots=True)
class Logged:
    """A host's log, ``since`` in seconds since the epoch (0 = unknown); lines may be left out.

    All times are by the host's clock, which is ``ahead`` of this machine's by so many seconds.
    """

    since: float = 0.0
    lines: tuple[Line, ...] = ()
    left_out: int = 0
    ahead: int = 0

    def as_json(self) -> JsonObject:
        """Return the log as it appears in the JSON document."""
        lines: list[JsonObject] = [{**asdict(line), "time": stamp(line.time)} for line in self.lines]
        return {
            "since": stamp(self.since) if self.since else None,
            "lines": lines,
            "left_out": self.left_out,
            "clock_ahead": self.ahead,
        }

    def masked(self, secrets: Secrets) -> Logged:
        """Return the log with the lab file's secrets masked."""
        return replace(self, lines=tuple(replace(line, text=secrets.mask(line.text)) for line in self.lines))


def journal_script(since: float, mark: str) -> str:
    """Return the script that reads the journal from ``since`` on (seconds since the epoch).

    If something was applied later, it starts there, by the guest's clock.
    """
    values: dict[str, str | int | bool] = {
        "since": int(since),
        "now": int(time.time()),
        "record": PATH,
        "most_entries": _ENTRIES,
        "most_bytes": _BYTES,
    }
    return gather_script([Probe(script=assigned(values) + guest_script("journal"))], mark)


def read_journal(output: str, mark: str, user: str, key: str) -> Logged:
    """Return the log lines in the journal.

    ``user`` and ``key`` (SHA256:...) are labrun's account and key. The last 20 lines of others are kept,
    the last 4 of labrun's sessions, and the last 6 of what a clock started.
    """
    try:
        facts = parse_facts(output, mark)
    except CommandError:
        return Logged()
    captured = facts.commands.get("log")
    entries = list(_marked(list(_entries(captured.text if captured else "")), user, key))
    others = [entry for entry in entries if not entry.labrun and entry.source not in _BY_THE_CLOCK]
    own = [entry for entry in entries if entry.labrun]
    timed = _once(entry for entry in entries if entry.source in _BY_THE_CLOCK)
    kept = sorted([*others[-_OTHERS:], *own[-_OWN:], *timed[-_TIMED:]], key=lambda entry: entry.time)
    since = float(integer(facts.word("since"), most=LATEST) or 0)
    return Logged(since, tuple(kept), max(0, len(others) - _OTHERS), _ahead(facts))


def _ahead(facts: Facts) -> int:
    text = facts.word("clock") or "0"
    seconds = integer(text.removeprefix("-"), most=LATEST) or 0
    return -seconds if text.startswith("-") else seconds


def _once(entries: Iterable[Line]) -> list[Line]:
    """Return the last of the lines that say the same."""
    last = {(line.source, line.text): line for line in entries}
    return sorted(last.values(), key=lambda line: line.time)


def _entries(text: str) -> Iterator[Line]:
    # A guest may print more than it was asked for.
    for line in text[-_BYTES:].splitlines()[-_ENTRIES:]:
        try:
            entry = as_object(read_json(line, "journal"), "journal")
            message = _message(entry.get("MESSAGE"))
        except UnreadableError:
            continue  # the first one may be truncated
        source = entry.get("SYSLOG_IDENTIFIER")
        microseconds = integer(entry.get("__REALTIME_TIMESTAMP"), most=LATEST * 1_000_000)
        if not isinstance(source, str) or microseconds is None:
            continue
        kept = _KEPT.get(source)
        if kept is not None and kept.search(message):
            yield Line(microseconds / 1e6, source, message[:_LONGEST])


def _message(value: object) -> str:
    """Return the beginning of a log line; raises UnreadableError for anything but text."""
    if isinstance(value, str):
        return value[:_LONGEST_SEARCHED]
    # journald encodes non-UTF-8 messages as numbers.
    numbers = [integer(number, most=255) for number in as_list(value, "journal")[:_LONGEST_SEARCHED]]
    return bytes(number for number in numbers if number is not None).decode(errors="replace")


def _marked(entries: Sequence[Line], user: str, key: str) -> Iterator[Line]:
    for number, entry in enumerate(entries):
        yield replace(entry, labrun=_is_own(entries, number, user, key))


def _is_own(entries: Sequence[Line], number: int, user: str, key: str) -> bool:
    """Tell whether a line is from one of labrun's sessions: by its key, its account, its way to run scripts.

    A user's `labrun ssh` has the same key and account, but runs something else.
    """
    source, text = entries[number].source, entries[number].text
    if source == "labrun":
        return True
    if source == "sudo":
        own = _OWN_COMMAND.match(text)
        return own is not None and own["user"] == user
    accepted = _ACCEPTED.match(text) if source == "sshd" else None
    if accepted is None or (accepted["user"], accepted["key"]) != (user, key):
        return False
    commands = (_COMMAND.match(entry.text) for entry in entries[number + 1 :] if entry.source == "sudo")
    first = next((command for command in commands if command is not None and command["user"] == user), None)
    return first is not None and _OWN_COMMAND.match(first.string) is not None
