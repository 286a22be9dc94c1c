"""What a host's journal says about changes, quoted: NetworkManager's audit lines, sudo, sshd.

labrun's own sessions are marked. Who somebody is does not follow from a log: lines stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from labrun.errors import CommandError
from labrun.tasks.configure.applied import PATH
from labrun.tasks.configure.shell import Probe, gather_script, parse_facts

__all__ = ["journal_script", "read_journal"]

_ENTRIES = 800
_BYTES = 400_000
_OTHERS, _OWN = 20, 4
_LONGEST = 400

_SCRIPT = """\
since={since}
applied=$(stat -c %Y {path} 2>/dev/null) || applied=0
[ "$applied" -lt "$since" ] || since=$applied
frame "since $since"
entries() {{
journalctl -q --no-pager -o json --output-fields=MESSAGE,SYSLOG_IDENTIFIER --since "@$since" \\
-n {entries} SYSLOG_IDENTIFIER=NetworkManager SYSLOG_IDENTIFIER=sudo \\
SYSLOG_IDENTIFIER=sshd SYSLOG_IDENTIFIER=labrun | tail -c {bytes}
}}
capture log entries
"""
_KEPT = {
    "NetworkManager": re.compile(r"audit: "),
    "sudo": re.compile(r"COMMAND=|authentication failure|incorrect password|NOT in sudoers"),
    "sshd": re.compile(r"Accepted |Failed |Invalid user |Received SIG|Received signal|Server listening "),
    "labrun": re.compile(""),
}
_ACCEPTED = re.compile(r"Accepted publickey for (?P<user>\S+) .* (?P<key>SHA256:\S+)")
# labrun's scripts come on the standard input of this, and of nothing else.
_OWN_COMMAND = re.compile(r"^\s*(?P<user>\S+) : .*COMMAND=\S*/sh -s$")
_COMMAND = re.compile(r"^\s*(?P<user>\S+) : ")


def journal_script(since: float, mark: str) -> str:
    """Return the script that reads the journal from ``since`` on (seconds since the epoch).

    Where something was applied later, it reads from then on, by the guest's own clock.
    """
    text = _SCRIPT.format(since=int(since), path=PATH, entries=_ENTRIES, bytes=_BYTES)
    return gather_script([Probe(script=text)], mark)


def read_journal(output: str, mark: str, user: str, key: str) -> dict[str, Any]:
    """Return ``{"since": seconds, "lines": [{time, source, text, labrun}], "left_out": N}``.

    ``user`` and ``key`` (SHA256:...) are labrun's own account and key. Of others the last 20 lines
    are kept, of labrun's sessions the last 4.
    """
    try:
        facts = parse_facts(output, mark)
    except CommandError:
        return {"since": 0.0, "lines": [], "left_out": 0}
    said = facts.commands.get("log")
    entries = list(_marked(list(_entries(said.text if said else "")), user, key))
    others = [entry for entry in entries if not entry["labrun"]]
    own = [entry for entry in entries if entry["labrun"]]
    kept = sorted([*others[-_OTHERS:], *own[-_OWN:]], key=lambda entry: float(entry["time"]))
    since = facts.word("since") or "0"
    return {
        "since": float(since) if since.isdecimal() else 0.0,
        "lines": kept,
        "left_out": max(0, len(others) - _OTHERS),
    }


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            source, message = entry["SYSLOG_IDENTIFIER"], _message(entry["MESSAGE"])
            seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            continue  # the first one may have been cut in two
        kept = _KEPT.get(source)
        if kept is not None and kept.search(message):
            yield {"time": seconds, "source": source, "text": message[:_LONGEST]}


def _message(value: Any) -> str:
    # journald gives what is not UTF-8 as numbers.
    return value if isinstance(value, str) else bytes(value).decode(errors="replace")


def _marked(entries: list[dict[str, Any]], user: str, key: str) -> Iterator[Mapping[str, Any]]:
    for number, entry in enumerate(entries):
        yield {**entry, "labrun": _is_own(entries, number, user, key)}


def _is_own(entries: list[dict[str, Any]], number: int, user: str, key: str) -> bool:
    """Tell whether a line is of a session of labrun's: its key, its account, its way to run scripts.

    A person's `labrun ssh` has the same key and account, but runs something else.
    """
    source, text = entries[number]["source"], str(entries[number]["text"])
    if source == "labrun":
        return True
    if source == "sudo":
        own = _OWN_COMMAND.match(text)
        return own is not None and own["user"] == user
    accepted = _ACCEPTED.match(text) if source == "sshd" else None
    if accepted is None or (accepted["user"], accepted["key"]) != (user, key):
        return False
    commands = (
        _COMMAND.match(str(each["text"])) for each in entries[number + 1 :] if each["source"] == "sudo"
    )
    first = next((command for command in commands if command is not None and command["user"] == user), None)
    return first is not None and _OWN_COMMAND.match(first.string) is not None
