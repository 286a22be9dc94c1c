"""sshd's settings: one drop-in that is read first, checked before installation, judged by ``sshd -T``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.sshd_match import Reopened, named, reopened
from labrun.tasks.configure.sshd_options import OPTIONS, loosened
from labrun.tasks.configure.sshd_profiles import Setting, desired_sshd, login_user, settings_in
from labrun.tasks.configure.sshd_script import apply_script, undo_script
from labrun.tasks.configure.sshd_ways_in import closed_by_itself, opened
from labrun.tasks.configure.text_diff import with_file
from labrun.tasks.guest.facts.sshd import (
    DROP_IN,
    MAIN,
    configuration,
    effective_settings,
    is_plain,
    meets,
    plain_value,
    probe,
)
from labrun.tasks.guest.facts.units import boot_probe, no_start
from labrun.tasks.guest.shell import Captured, Facts, Probe, quote, typed_file
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import SSHD

__all__ = ["Sshd", "render"]

_HEADER = "# Written by labrun configure; changes made here are undone by its next run.\n"
_INCLUDES = re.compile(r"^[ \t]*+include[ \t].*sshd_config\.d/", re.IGNORECASE | re.MULTILINE)
_LINE_NUMBER = re.compile(r"line ([0-9]{1,9}): (.+)")
# Blocks and includes would change the meaning of the lines after them.
_NO_KEYWORDS = frozenset({"match", "include"})
# These have no effect if systemd listens in sshd's place.
_OF_THE_SOCKET = frozenset({"port", "listenaddress", "addressfamily"})

# What sshd says of a keyword without naming it.
_SPEAKS_OF = {
    "host key": "hostkey",
    "hostkeys": "hostkey",
    "host certificate": "hostcertificate",
    "bad addr or host": "listenaddress",
}
_UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
_NOT_READ = "not read yet"


def render(settings: Sequence[Setting]) -> str:
    """Return the drop-in: every setting with its reason in a comment above it."""
    parts = [_HEADER]
    for setting in settings:
        if setting.reason:
            parts.append(f"\n# {setting.reason}\n")
        parts.extend(f"{setting.keyword} {value}\n" for value in setting.values)
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Want:
    """The desired settings from host data, and the login user."""

    settings: tuple[Setting, ...]
    user: str

    @classmethod
    def of(cls, want: Json) -> _Want:
        settings = (Setting(s["keyword"], tuple(s["values"]), s["reason"]) for s in want["settings"])
        return cls(tuple(settings), want["user"])

    @property
    def sound(self) -> tuple[Setting, ...]:
        """Return the settings that keep their meaning when written to a file."""
        return tuple(setting for setting in self.settings if _unsound(setting) is None)


def _unsound(setting: Setting) -> str | None:
    if setting.key in _NO_KEYWORDS or not setting.keyword.isalnum() or not setting.keyword.isascii():
        return f"{setting.keyword} cannot be set in the drop-in"
    if not setting.values or not all(
        v.strip() and v.replace("\t", " ").isprintable() for v in setting.values
    ):
        return f"{setting.keyword}: a value must be one line of text"
    if any(value.lstrip().startswith("=") for value in setting.values):
        # sshd treats the first `=` after a keyword as a separator.
        return f"{setting.keyword}: a value must not begin with ="
    return None


class Sshd:
    """The resource ``sshd``; rows are named after the keywords, in lower case."""

    section = SSHD.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return settings and login user, None if the lab file says ``sshd: false``."""
        settings = desired_sshd(lab, host)
        if settings is None:
            return None
        rows = [{"keyword": s.keyword, "values": list(s.values), "reason": s.reason} for s in settings]
        return {"settings": rows, "user": login_user(host)}

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the keywords in lower case."""
        return tuple(str(setting["keyword"]).lower() for setting in want["settings"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the files and ask sshd for the effective settings of this very login."""
        wanted = _Want.of(want)
        unclear = not all(is_plain(setting.key) for setting in wanted.sound)
        asked = probe(
            wanted.user,
            unclear=render(wanted.sound) if unclear else None,
            socket=any(setting.key in _OF_THE_SOCKET for setting in wanted.settings),
        )
        return (asked, OPTIONS, boot_probe(_UNITS))

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the keywords whose effective value, or line in the drop-in, is not as declared."""
        wanted = _Want.of(want)
        output = facts.commands.get("sshd", Captured("sshd is not installed", 127))
        if reason := _broken(output, facts):
            return SectionPlan(self.section, _all_refused(wanted, reason))
        canonical, faults = _canonical(wanted, facts)
        written = _written(facts) if output.status == 0 else {}
        closed = closed_by_itself({setting.key for setting in wanted.settings})
        effective, blocks = _effective(output, facts), reopened(facts, closed | canonical)
        judge = _Judge(effective, facts, written, blocks)
        items = tuple(judge.item(setting, canonical.get(setting.key), faults) for setting in wanted.settings)
        elsewhere = loosened(facts, closed | canonical)
        items = tuple(_with_options(item, elsewhere.get(item.name)) for item in items)
        ways_in = opened(closed, effective, blocks, elsewhere)
        items += (*judge.surplus(wanted), *ways_in, *_at_boot(facts))
        if reason := _unread(facts):
            return SectionPlan(self.section, tuple(_without_drop_in(item, reason) for item in items))
        if faults:
            culprits = ", ".join(
                sorted({setting.keyword for setting in wanted.settings if setting.key in faults})
            )
            return SectionPlan(self.section, tuple(_held_back(item, culprits) for item in items))
        if not any(item.state == "change" for item in items):
            return SectionPlan(self.section, items)
        text = render(wanted.sound)
        before = facts.files.get(DROP_IN)
        items = with_file(items, DROP_IN, before, text)
        return SectionPlan(
            self.section,
            items,
            apply_script(text, before),
            undo_script(),
            self.explain(want),
            saves=(DROP_IN,),
            seconds=20,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that write, check and load the drop-in, and show the effective settings."""
        wanted = _Want.of(want)
        return (
            typed_file(DROP_IN, render(wanted.sound), "0600"),
            "sshd -t",
            "systemctl reload ssh",
            f"sshd -T -C user={quote(wanted.user)},host=localhost,addr=127.0.0.1",
        )


def _with_options(item: Item, why: str | None) -> Item:
    """Return the item with what options of sshd's command line make of it, elsewhere or at the next start."""
    if why is None or item.refused is not None:
        return item
    if item.state == "change":
        return replace(item, note=item.note or f"{why}: take it out there")
    have = {"": f"{item.actual} ({why})"}
    words = replace(item.words, actual=have[""])
    return replace(item, have=have, seen=have, words=words, refused=f"{why}: take it out there")


def _at_boot(facts: Facts) -> Iterator[Item]:
    """Yield the unit of sshd that should start at boot, if none does."""
    unit = no_start(facts, _UNITS)
    if unit is not None:
        state = "does not start" if unit.kept else unit.load if unit.load == "masked" else unit.file
        yield Item(unit.name, {"": "enabled"}, {"": state}, refused=unit.not_at_boot)


def _effective(output: Captured, facts: Facts) -> dict[str, tuple[str, ...]]:
    """Return the effective settings of this login, and of root for keywords that concern root."""
    effective = effective_settings(output.text)
    as_root = facts.commands.get("sshd-root")
    if as_root is not None and as_root.status == 0:
        effective |= {k: v for k, v in effective_settings(as_root.text).items() if k == "permitrootlogin"}
    return effective


def _broken(output: Captured, facts: Facts) -> str | None:
    if output.status not in (0, 255):
        return f"sshd cannot be queried: {output.last_line}"
    if output.status != 0 and DROP_IN not in output.both:
        # The drop-in itself may be broken: this run fixes that.
        told = (output.error or output.text).splitlines()
        lines = [line for line in told if line.strip() and ": terminating, " not in line]
        return f"sshd rejects its own configuration: {lines[-1] if lines else output.last_line}"
    return None


def _unread(facts: Facts) -> str | None:
    """Return why sshd would not read a drop-in, although its configuration holds up."""
    if _INCLUDES.search(facts.files.get(MAIN, "")):
        return None
    return f"{MAIN} does not include sshd_config.d, so a drop-in would not be read"


def _without_drop_in(item: Item, why: str) -> Item:
    """Return the item where no drop-in is read: what holds by itself holds, the rest cannot be written."""
    if item.state in ("ok", "change") and item.have == item.want and item.words.actual == item.expected:
        return replace(item, later=NOTHING, seen=NOTHING)
    return replace(item, refused=item.refused or why)


def _all_refused(wanted: _Want, reason: str) -> tuple[Item, ...]:
    return tuple(Item(s.key, {"": " ".join(s.values)}, {"": ""}, refused=reason) for s in wanted.settings)


def _held_back(item: Item, culprits: str) -> Item:
    if item.state != "change":
        return item
    return replace(item, refused=f"sshd was not changed, because of {culprits}")


def _canonical(wanted: _Want, facts: Facts) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return each keyword's values as sshd writes them, and the keywords that sshd rejects."""
    values = {s.key: tuple(plain_value(s.key, value) for value in s.values) for s in wanted.sound}
    faults = {s.key: reason for s in wanted.settings if (reason := _unsound(s)) is not None}
    if "sshd-socket" in facts.words:
        why = "systemd listens here in place of sshd (ssh.socket), so this would have no effect"
        faults |= {s.key: why for s in wanted.settings if s.key in _OF_THE_SOCKET}
    asked = facts.commands.get("canonical")
    if asked is None:
        return values, faults
    if asked.status == 0:
        printed = effective_settings(asked.text)
        return {key: printed.get(key, value) for key, value in values.items()}, faults
    lines = render(wanted.sound).splitlines()
    for number, message in _LINE_NUMBER.findall(asked.both):
        at = int(number) - 1
        if at < len(lines):
            faults[lines[at].partition(" ")[0].lower()] = f"sshd -t: {message.strip()}"
    return values, faults or _faults_without_line(asked, values)


def _faults_without_line(asked: Captured, values: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the keywords that sshd's message is about, which names no line; all of them if none is known."""
    for line in asked.both.splitlines():
        words = set(re.findall(r"[a-z0-9]+", line.lower()))
        named = [key for key in values if key in words]
        named += [key for text, key in _SPEAKS_OF.items() if text in line.lower() and key in values]
        if named:
            return dict.fromkeys(named, f"sshd -t: {line.strip()}")
    return dict.fromkeys(values, f"sshd -t: {asked.last_line}")


def _written(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Return the drop-in's values by keyword."""
    found: dict[str, tuple[str, ...]] = {}
    for setting in settings_in(facts.files.get(DROP_IN, "")):
        found[setting.key] = (*found.get(setting.key, ()), *setting.values)
    return found


@dataclass(frozen=True, slots=True)
class _Judge:
    """Compare one setting after the other with sshd's effective values and the files.

    ``reopened`` are the Match blocks that set a keyword less strictly for others.
    """

    effective: Mapping[str, tuple[str, ...]]
    facts: Facts
    written: Mapping[str, tuple[str, ...]]
    reopened: Mapping[str, Sequence[Reopened]]

    def item(self, setting: Setting, values: tuple[str, ...] | None, faults: Mapping[str, str]) -> Item:
        """Return the item of one keyword: what is effective now, and what the drop-in says."""
        item = self._for_this_login(setting, values, faults)
        blocks = self.reopened.get(setting.key, ())
        if not blocks or item.refused is not None:
            return item
        others = ", ".join(f"{block.value} for {block.criteria}" for block in blocks)
        have, why = {"": f"{item.actual} ({others})"}, named(blocks)
        shown = replace(item, have=have, seen=have, words=replace(item.words, actual=have[""]))
        # The drop-in is written whatever the block says: it applies to everyone else.
        return replace(shown, note=why) if item.state == "change" else replace(shown, refused=why)

    def _for_this_login(
        self, setting: Setting, values: tuple[str, ...] | None, faults: Mapping[str, str]
    ) -> Item:
        key, want = setting.key, " ".join(setting.values)
        expected, actual = " ".join(values or setting.values), " ".join(self.effective.get(key, ()))
        if key in faults or values is None:
            return Item(key, {"": want}, {"": actual}, refused=faults.get(key, ""), words=Words(expected))
        holds = meets(key, values, self.effective) if key in self.effective else None
        written = self.written.get(key) == setting.values
        diff = [f"-{key} {actual}", f"+{key} {expected}"] if holds is False else []
        if not written:
            diff.append(f"+{DROP_IN}: " + ", ".join(f"{setting.keyword} {value}" for value in setting.values))
        item = Item(
            key,
            {"": want},
            {"": actual if holds is False else want},
            later={"": " ".join(self.written.get(key, ()))},
            seen={"": actual},
            words=Words(expected, expected if written and holds is None else actual, "\n".join(diff)),
        )
        if self._stale():
            note = "the running sshd has not read the file yet" if written and holds else None
            return replace(item, have={"": _NOT_READ}, seen={"": _NOT_READ}, note=note)
        return replace(item, refused=self._rival(setting)) if written and holds is False else item

    def surplus(self, wanted: _Want) -> tuple[Item, ...]:
        """Return what the drop-in contains beyond the lab file."""
        declared = {setting.key for setting in wanted.settings}
        return tuple(
            Item(key, have={"": value}, words=Words(diff=f"-{DROP_IN}: {key} {value}"))
            for key, value in ((key, " ".join(values)) for key, values in self.written.items())
            if key not in declared
        )

    def _stale(self) -> bool:
        return "stale-sshd" in self.facts.words

    def _rival(self, setting: Setting) -> str:
        other = self.facts.word("sshd-with")
        if other is not None:
            return f"the running sshd was started with {other}"
        if setting.key in self.reopened:
            return named(self.reopened[setting.key])
        rivals = [
            path
            for path, text in configuration(self.facts).items()
            if path != DROP_IN and any(each.key == setting.key for each in settings_in(text))
        ]
        where = ", ".join(rivals)
        return (
            f"{where} sets {setting.keyword} too, and that applies to this login" if where else "sshd differs"
        )
