"""Three recorded hosts, what one of them shows changed at random, through verify, drift and configure."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from labrun.errors import LabrunError
from labrun.inventory.model import Host, Lab
from labrun.outcome import Outcome
from labrun.ports import Completed
from labrun.runner.engine.nornir import row_of_error
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.judge import judge
from labrun.tasks.collect.task import captures_of, evidence_of
from labrun.tasks.configure import converge
from labrun.tasks.configure.applied import renewed, write_applied
from labrun.tasks.configure.resources import plan_host, row_names
from labrun.tasks.configure.rows import OutcomeBuilder
from labrun.tasks.drift.journal import read_journal
from labrun.tasks.drift.judge import Seen, drift_rows
from labrun.tasks.guest.facts.applied import PATH
from labrun.tasks.guest.shell import parse_facts
from tests import places
from tests.unit.recorded_specs import recorded_spec
from tests.unit.small_labs import host, lab, network

__all__ = ["CASES", "HOSTS", "KINDS", "Gather", "gather_of", "judged", "measured", "mutated", "three"]

FOLDER = places.RECORDED
MARK = "labrun-mark"
HOSTS = ("r", "a", "c")
_NUMBERS = {"r": 0, "a": 1, "c": 3}
CASES = sorted(path.name for path in (FOLDER / "configure").iterdir() if path.is_dir())

_OWN = " of configure"

Frames = tuple[tuple[str, str], ...]

NFT = """\
table inet demo { # handle 1
\tcounter dropped { # handle 2
\t\tpackets 4 bytes 240
\t}
\tchain forw { # handle 3
\t\ttype filter hook forward priority filter; policy accept;
\t\tct state established,related accept # handle 4
\t\tiifname "eth0" ip daddr 10.3.9.0/24 counter packets 3 bytes 180 drop # handle 5
\t\ttcp dport { 22, 80-90 } ip saddr { 10.3.1.0/24, 10.9.0.1-10.9.0.9 } counter name "dropped" drop # handle 6
\t\tmeta length > 1300 jump large # handle 7
\t}
\tchain large { # handle 8
\t\tlog prefix "large " level info # handle 9
\t\treturn # handle 10
\t}
}
"""
_EVIDENCE = {
    "rules4": '[{"priority":0,"src":"all","table":"local"},{"priority":50,"src":"10.9.0.0","srclen":16,'
    '"table":"100"},{"priority":32766,"src":"all","table":"main"},{"priority":32767,"src":"all","table":"default"}]\n',
    "rules6": '[{"priority":0,"src":"all","table":"local"},{"priority":32766,"src":"all","table":"main"}]\n',
    "nft-before": NFT,
    "nft-after": NFT.replace("packets 3 ", "packets 5 "),
    "neighbours": '[{"dst":"10.3.1.254","dev":"eth0","lladdr":"02:c0:00:00:00:01","state":["REACHABLE"]},'
    '{"dst":"10.3.1.99","dev":"eth0","state":["FAILED"]}]\n',
    "listeners": "UNCONN 0 0 0.0.0.0:68 0.0.0.0:*\nUNCONN 0 0 [::]:546 [::]:*\n",
}
_ENTRY = {
    "__REALTIME_TIMESTAMP": "1795648000000000",
    "SYSLOG_IDENTIFIER": "sudo",
    "MESSAGE": "     lab : PWD=/home/lab ; USER=root ; COMMAND=/usr/bin/nmcli connection modify x mtu 1400",
}
_JOURNAL = "".join(
    json.dumps({**_ENTRY, "__REALTIME_TIMESTAMP": str(1795648000000000 + n)}) + "\n" for n in range(20)
)


@dataclass(frozen=True)
class Gather:
    """What one host shows: the answer to drift's script, with verify's and configure's in it, and its log.

    Both were recorded on hosts of different addresses: where both ask the same, a frame ends in ``_OWN``
    for configure.
    """

    verify: CollectSpec
    configure: Mapping[str, Any]
    frames: Frames
    log: Frames

    def output(self, *, configure: bool = False) -> str:
        """Return what the script printed, of the one command or of both others."""
        own = {head.removesuffix(_OWN): body for head, body in self.frames if head.endswith(_OWN)}
        shared = [(head, body) for head, body in self.frames if not head.endswith(_OWN)]
        return _text(tuple((head, own.get(head, body) if configure else body) for head, body in shared))

    def plus(self, name: str, body: str) -> Gather:
        """Return it with another answer to a command, or another file."""
        heads = (f"out {name}", f"file {name}")
        return replace(
            self, frames=tuple((head, body if head in heads else old) for head, old in self.frames)
        )


def _text(frames: Frames) -> str:
    return "".join(f"\n{MARK} {head}\n{body}" for head, body in frames)


def _frames(output: str, mark: str) -> Frames:
    parts = output.split(f"\n{mark} ")[1:]
    return tuple((head, body) for head, _, body in (part.partition("\n") for part in parts))


@cache
def three() -> Lab:
    """Return the lab: r between a's network and c's."""

    def one(name: str, nics: Mapping[str, str], role: str = "host") -> Host:
        made = host(name, nics, role)
        named = (
            replace(nic, mac=f"02:c0:00:00:0{_NUMBERS[name]}:0{nic.network[1]}") for nic in made.interfaces
        )
        return replace(made, sshd=None, interfaces=tuple(named))

    return lab(
        [network("n1", "10.3.1.0/24"), network("n2", "10.3.2.0/24")],
        [
            one("r", {"n1": "10.3.1.254/24", "n2": "10.3.2.254/24"}, "router"),
            one("a", {"n1": "10.3.1.11/24"}),
            one("c", {"n2": "10.3.2.11/24"}),
        ],
    )


@cache
def gather_of(name: str, case: str, lab_case: str = "healthy") -> Gather:
    """Return what a host of the recorded lab shows, with what ``case`` recorded for configure beside it."""
    shown = json.loads((FOLDER / "collect" / f"{lab_case}.json").read_text())[name]
    folder = FOLDER / "configure" / case
    spec = {**json.loads((folder / "spec.json").read_text()), "host": name}
    seen = dict(_frames(shown["stdout"], shown["mark"]))
    recorded = dict(_frames((folder / "gathered.txt").read_text(), "labrun-case"))
    facts = parse_facts((folder / "gathered.txt").read_text(), "labrun-case")
    applied = write_applied(renewed(None, plan_host(spec, facts), run="r", version="1", digest="d"))
    files = {
        **{head: body for head, body in (*seen.items(), *recorded.items()) if head.startswith("file ")},
        **{head: body for head, body in seen.items() if head.startswith("file /proc/")},
        f"file {PATH}": shlex.split(applied)[2],
    }
    names = "".join(f"{head.partition(' ')[2]}\n" for head in files)
    rest = {
        head: body
        for head, body in (*recorded.items(), *seen.items())
        if not head.startswith("file") and head != "end"
    }
    asked_by_both = [head for head in recorded if head in seen and ("route" in head or "link" in head)]
    rest |= {f"{head}{_OWN}": recorded[head] for head in asked_by_both}
    for what, text in _EVIDENCE.items():
        rest[f"out {what}"], rest[f"status {what} 0"] = text, ""
    frames = (*files.items(), ("files", names), *rest.items(), ("end", ""))
    log = (("since 1795640000", ""), ("out log", _JOURNAL), ("status log 0", ""), ("end", ""))
    return Gather(recorded_spec(shown["spec"]), spec, frames, log)


class _Replay:
    """A transport over which a recorded answer comes, whatever is asked."""

    def __init__(self, output: str):
        self._output = output

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        mark = script.partition("m=")[2].partition("\n")[0]
        return Completed(0, self._output.replace(MARK, mark), "", 0.1)


def judged(gathers: Mapping[str, Gather]) -> dict[str, list[Outcome]]:
    """Return, by command, the rows of verify, drift and a dry run of configure; the logs are read, too."""
    raw: dict[str, Any] = {
        name: {"mark": MARK, "spec": each.verify, "stdout": each.output(), "stderr": "", "exit_status": 0}
        for name, each in gathers.items()
    }
    captures = captures_of(raw)
    specs = {name: each.configure for name, each in gathers.items()}
    for name, each in gathers.items():
        evidence_of(raw[name])
        log = read_journal(_text(each.log), MARK, "lab", "SHA256:x")
        for line in log.lines:
            time.localtime(line.time)
        time.gmtime(log.since)
    return {
        "verify": judge(three(), captures),
        "drift": drift_rows(three(), Seen(specs, captures, None), HOSTS),
        "configure": [row for name in HOSTS for row in _dry_run(name, gathers[name])],
    }


def _dry_run(name: str, gather: Gather) -> list[Outcome]:
    run = converge.HostRun(name, gather.configure, dry_run=True)
    try:
        return OutcomeBuilder(name, run.look(_Replay(gather.output(configure=True))).plan).untouched(
            dry_run=True
        )
    except LabrunError as error:
        return [row_of_error(name, section, what, error) for section, what in row_names(gather.configure)]


DEEP = "[" * 100_000
STRANGE = (
    *("null", "true", "-1", "0", "1.5", "1e999", "NaN", "9" * 26, "9" * 400, "9" * 5000, "1000000000"),
    *('""', '"x"', '"%"', '"\\ud800"', '"\\u0000"', '"\u0663"', '"10.0.0.300"', f'"{"y" * 100_000}"'),
    *("[]", "{}", "[1,2]", '{"a":1}', "[[[]]]", '["UP"]', DEEP),
)
_NUMBERS_OF_A_KIND = ("9" * 26, "9" * 400, "9" * 5000, "-", "²", "\u0663", "", ".")

Mutation = Callable[[random.Random, str], str]


def _value(dice: random.Random, text: str) -> str:
    """Put something strange in the place of one value of a JSON document, or of the whole of it."""
    try:
        document = json.loads(text)
    except ValueError:
        return dice.choice(STRANGE)
    places: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        places += [(here, key) for key in keys]
        todo += [here[key] for key in keys]
    if not places or dice.random() < 0.1:
        return dice.choice(STRANGE)
    holder, key = dice.choice(places)
    holder[key] = "THE-PLACE"
    return json.dumps(document).replace('"THE-PLACE"', dice.choice(STRANGE)) + "\n"


def _line(dice: random.Random, text: str) -> str:
    """Do the same in one line, as journalctl has a document in each."""
    lines = text.splitlines(keepends=True) or [""]
    place = dice.randrange(len(lines))
    lines[place] = _value(dice, lines[place])
    return "".join(lines)


def _digits(dice: random.Random, text: str) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return text
    place = dice.choice(places)
    return text[:place] + dice.choice(_NUMBERS_OF_A_KIND) + text[place + 1 :]


def _cut(dice: random.Random, text: str) -> str:
    first, last = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    return text[:first] + text[last:]


def _twice(dice: random.Random, text: str) -> str:
    first, last = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    return text[:last] + text[first:last] * dice.choice([1, 2, 50]) + text[last:]


def _letters(dice: random.Random, text: str) -> str:
    letters = list(text)
    for _ in range(dice.randrange(1, 20)):
        if letters:
            letters[dice.randrange(len(letters))] = dice.choice("\0\t\n \"'[]{},:.\\/%!*é🙂\u202e\x1b")
    return "".join(letters)


def _junk(dice: random.Random, text: str) -> str:
    junk = dice.choice(["{}", "\n", "[", "\0", "é🙂", " ", "{ ", "[1,2]", "a: b\n", '"', "\\"])
    return junk * (dice.choice([1, 1000, 100_000]) // len(junk) + 1)


def _ways(dice: random.Random, text: str) -> str:
    """Return a ruleset with exponentially many ways through it."""
    levels, jumps = dice.choice([(9, 12), (17, 12), (3, 2000), (16, 100)])
    hook = dice.choice(["forward", "prerouting", "input", "output", "postrouting"])
    head = f"\t\ttype filter hook {hook} priority 0; policy {dice.choice(['drop', 'accept'])};\n"
    kind = dice.choice(["jump", "goto", "ct mark 7 jump", "ip daddr 10.3.1.11 jump"])
    chains = []
    for level in range(levels):
        rules = "".join(
            f"\t\t{kind} c{dice.choice([level + 1, level + 1, 0])} # handle {n}\n" for n in range(jumps)
        )
        last = dice.choice(["", "\t\tdrop # handle 9999\n"])
        chains.append(f"\tchain c{level} {{ # handle 1\n{head if level == 0 else ''}{rules}{last}\t}}\n")
    return "table inet evil { # handle 1\n" + "".join(chains) + "}\n"


KINDS: Mapping[str, Mutation] = {
    "value": _value,
    "line": _line,
    "digits": _digits,
    "cut": _cut,
    "twice": _twice,
    "letters": _letters,
    "junk": _junk,
    "ways": _ways,
}


def mutated(gather: Gather, seed: int) -> Gather:
    """Return what a host shows with one to three things in it changed; the same for the same seed."""
    dice = random.Random(seed)
    for _ in range(dice.choice([1, 1, 2, 3])):
        field = "log" if dice.random() < 0.12 else "frames"
        frames = list(getattr(gather, field))
        kind = dice.choice(list(KINDS))
        if kind == "ways":
            places = [place for place, (head, _) in enumerate(frames) if head.startswith("out nft")]
        else:
            places = list(range(len(frames)))
        place = dice.choice(places or [0])
        head, body = frames[place]
        if dice.random() < 0.12:
            head = KINDS[dice.choice(["digits", "cut", "letters"])](dice, head).replace("\n", " ")
        else:
            body = KINDS[kind](dice, body)
        frames[place] = (head, body)
        if dice.random() < 0.05:
            dice.shuffle(frames)
        changed = tuple(frames)
        gather = replace(gather, log=changed) if field == "log" else replace(gather, frames=changed)
    return gather


LARGE: Mapping[str, Callable[[], str]] = {
    "newlines": lambda: "\n" * 8_000_000,
    "objects": lambda: "{}" * 4_000_000,
    "list": lambda: "[" + "{}," * 2_600_000 + "{}]",
    "words": lambda: "x " * 4_000_000,
    "lines": lambda: "".join(f"x{n % 7} = {n}\n" for n in range(150_000)),
    "same lines": lambda: "net.ipv4.ip_forward = 1\n" * 150_000,
    "patterns": lambda: "".join(f"net.*{n}* = 1\n" for n in range(150_000)),
    "settings": lambda: "AllowUsers x\n" * 150_000,
    "sections": lambda: "[ipv4]\naddress1=10.0.0.1/24\n" * 75_000,
    "blanks": lambda: " " * 8_000_000,
    "wide": lambda: "🙂" * 2_000_000,
    "frames": lambda: f"\n{MARK} x" * 500_000,
    "rules": lambda: "table inet x {\n\tchain y {\n" + "\t\tdrop # handle 1\n" * 400_000 + "\t}\n}\n",
    "journal": lambda: (json.dumps({**_ENTRY, "MESSAGE": 1_000_000_000}) + "\n") * 50_000,
}
"""As much as comes through at most, of one kind."""


def _peak() -> int:
    """Return this process's own peak in KiB: what rusage says begins with the parent's before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def measured(kind: str, place: str) -> Mapping[str, object]:
    """Judge three hosts, the first of which shows too much of one kind; return KiB and seconds."""
    healthy = {"r": gather_of("r", "router-configured"), **{n: gather_of(n, "host-configured") for n in "ac"}}
    if kind in LARGE:
        healthy["r"] = healthy["r"].plus(place, LARGE[kind]())
    began = time.process_time()
    rows = judged(healthy)
    spent = time.process_time() - began
    others = [replace(row, seconds=0).as_json() for each in rows.values() for row in each if row.host != "r"]
    memory = _peak()
    return {"kib": memory, "seconds": spent, "others": others}
