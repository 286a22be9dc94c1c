"""Firewall and NAT: one nftables table that labrun owns, compared in nft's listing format.

`firewall` and `nat` are two sections with a row each, but one table, which the kernel replaces in one
transaction: requesting one section includes the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labrun.bounded import integer
from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.nft_loader import OPENRC, SYSTEMD, NftLoader, loader_of
from labrun.tasks.configure.nft_text import CHAINS, SSH_PORTS, TABLE, definition, replacement, ssh_line
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.text_diff import compared
from labrun.tasks.guest.facts.guard import GUARD
from labrun.tasks.guest.facts.sshd import DROP_IN as SSHD_DROP_IN
from labrun.tasks.guest.scripts import assigned, guest_script, quote, words
from labrun.tasks.guest.shell import Captured, Facts, Probe, install_word, typed_file
from labrun.tasks.state.item import Item, Words, spelled
from labrun.tasks.state.sections import FIREWALL, NAT

__all__ = ["FILE", "NftSection"]

(FILE,) = FIREWALL.files
_HEADER = "# Written by labrun configure; changes made here are undone by its next run.\n"
# Both sections use the same probe, which runs once.
_ONCE = '[ -n "${nft_asked-}" ] || { nft_asked=1; '
_PATHS = (FILE, *SYSTEMD.files, *OPENRC.files)
_LOOK = {"nft_links": " ".join((*SYSTEMD.links, *OPENRC.links)), "nft_table": TABLE}
_CHAIN = re.compile(r"\tchain (\S+) \{")


@dataclass(frozen=True, slots=True)
class _State:
    """The basis of both sections' plans: the table's actual and desired state, chain by chain.

    ``wanted`` and ``found`` are listings by nft, empty without a table.
    """

    text: str
    ports: tuple[int, ...]
    wanted: str
    found: str
    facts: Facts
    reason: str | None

    @classmethod
    def of(cls, want: Json, facts: Facts) -> _State:
        missing = Captured("", 1)
        table, scratch = (facts.commands.get(f"nft-{name}", missing) for name in ("table", "wanted"))
        numbers = (facts.word("nft-ssh") or "22").split()
        ports = tuple(port for word in numbers if (port := integer(word, least=1, most=65535)) is not None)
        return cls(
            want["text"],
            ports,
            scratch.text.strip() if scratch.status == 0 else "",
            table.text.strip() if table.status == 0 else "",
            facts,
            _refusal(want, facts, scratch) if want["text"] else None,
        )

    @property
    def file(self) -> str:
        """Return the file's desired content, empty if the file must not exist."""
        return _file(self.text, self.ports) if self.text else ""

    @property
    def before(self) -> str:
        """Return the file's present content, empty without a file."""
        return self.facts.files.get(FILE, "")

    @property
    def persists(self) -> bool:
        """Tell whether the next boot will load the desired state."""
        if not self.text:
            return not self.before and not any(path in self.facts.files for path in _PATHS)
        return self.before == self.file and self.is_loaded_at_boot

    @property
    def is_loaded_at_boot(self) -> bool:
        """Tell whether the init system loads it at boot, at the right time."""
        files = {path: self.facts.files.get(path) for path in self.loader.files}
        return files == self.loader.files and "nft-at-boot" in self.facts.words

    @property
    def loader(self) -> NftLoader:
        """Return what has the host's init system load it."""
        return loader_of(self.facts)


def _file(text: str, ports: Sequence[int]) -> str:
    return _HEADER + ssh_line(ports) + replacement(text)


def _refusal(want: Json, facts: Facts, scratch: Captured) -> str | None:
    if "nft-missing" in facts.words:
        return "nft is not installed (packages: [nftables] installs it)"
    rival = facts.word("nft-rival")
    if rival is not None:
        # Stopping ufw's unit leaves it enabled in its configuration file.
        hint = "ufw disable" if rival == "ufw" else f"systemctl disable --now {rival}"
        return f"{rival} is active, and two firewalls would conflict: stop it ({hint}), or remove these keys"
    if scratch.status != 0:
        lines = [line.strip() for line in scratch.both.splitlines() if "Error:" in line]
        return f"nft refuses the rules: {lines[0].partition('Error: ')[2] if lines else scratch.last_line}"
    return None


def _chains(listing: str) -> dict[str, str]:
    """Split a listing into the text of its chains; the rest of the table is under ``""``."""
    parts: dict[str, list[str]] = {}
    name = ""
    for line in listing.splitlines()[1:-1]:
        opened = _CHAIN.fullmatch(line)
        name = opened[1] if opened else name
        parts.setdefault(name, []).append(line)
        name = "" if line == "\t}" else name
    return {name: "\n".join(lines).strip("\n") for name, lines in parts.items() if any(lines)}


class NftSection:
    """The resource ``firewall`` or ``nat``; its only row has the same name."""

    def __init__(self, section: str) -> None:
        self.section = section

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return the table's text and the sections it comes from; an empty one still finds leftovers."""
        declared = [name for name in (FIREWALL.name, NAT.name) if getattr(host, name) is not None]
        ports = [int(port) for port in (host.sshd or {}).get("port", ()) if port.strip().isdecimal()]
        file = SSHD_DROP_IN if host.sshd is not None else ""
        text = definition(lab, host)
        return {"text": text, "declared": declared, "ssh_ports": ports, "ssh_file": file}

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the section's name if the file declares it."""
        return (self.section,) if self.section in want["declared"] else ()

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the file and the table, and have nft list what the lab file asks for."""
        look = assigned(_LOOK) + guest_script("nft_look")
        if not want["text"]:
            return (Probe(_PATHS, f"{look}{_ONCE}[ ! -e {FILE} ] || nft_look; }}\n"),)
        values = {
            "nft_text": replacement(want["text"]),
            "nft_define": SSH_PORTS,
            "nft_declared": " ".join(map(str, want["ssh_ports"])),
            "nft_drop_in": want["ssh_file"],
        }
        compare = assigned(values) + guest_script("nft_wanted")
        return (Probe(_PATHS, f"{look}{compare}{_ONCE}nft_compare; }}\n"),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return whether this section's chains, now and at the next boot, are as declared."""
        state = _State.of(want, facts)
        item = self._item(want, state)
        if item is None or item.state != "change":
            return SectionPlan(self.section, (item,) if item else ())
        commands = self._typed({**want, "ssh_ports": state.ports}, state.loader)
        saves = (FILE, *state.loader.paths)
        return SectionPlan(self.section, (item,), _apply(state), _undo(state), commands, saves=saves)

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that write the file, load it and enable it for the next boot, with systemd."""
        return self._typed(want, SYSTEMD)

    def _typed(self, want: Json, loader: NftLoader) -> tuple[str, ...]:
        if not want["text"]:
            return ()
        if self.section != want["declared"][0]:
            return ()  # one table: the other section's commands install it
        text = _file(want["text"], want["ssh_ports"] or (22,))
        return (
            typed_file(FILE, text, "0644"),
            f"nft -f {FILE}",
            *loader.by_hand,
        )

    def _item(self, want: Json, state: _State) -> Item | None:
        asked = self.section in want["declared"]
        rules, wanted, found = (
            self._own(want, _chains(text)) for text in (state.text, state.wanted, state.found)
        )
        at_boot = "loaded at boot" if state.is_loaded_at_boot else "not loaded at boot"
        seen = {"rules": _joined(found), "boot": f"{state.before}\n{at_boot}"}
        expected, actual = _summary(wanted) if wanted else "as declared", _summary(found)
        if found == wanted and not state.persists:
            actual = f"{actual} (not after a reboot)"
        elif found != wanted and actual == expected:
            actual = f"{actual}, but different rules"
        is_so = found == wanted and state.persists
        diff = "" if is_so else _diff(self.section, state, found, wanted)
        if asked:
            declared = {"rules": _joined(rules), "boot": state.text}
            # Without nft, or if it refuses the rules, nothing is wanted in its spelling.
            agree = found == wanted and bool(wanted) == bool(rules)
            holds = {"rules": agree, "boot": state.persists}
            have, words = spelled(declared, seen, holds), Words(expected, actual, diff)
            return Item(self.section, declared, have, seen=seen, refused=state.reason, words=words)
        left = {"rules": bool(found), "boot": not (state.text or state.persists or self.section == NAT.name)}
        have = {key: value for key, value in seen.items() if left[key]}
        words = Words(actual=actual, diff=diff)
        return Item(self.section, have=have, note="no longer in the lab file", words=words) if have else None

    def _own(self, want: Json, chains: Mapping[str, str]) -> dict[str, str]:
        """Return the section's chains; the rest of the table goes with the first declared section."""
        first = (want["declared"] or [FIREWALL.name])[0]
        return {name: text for name, text in chains.items() if CHAINS.get(name, first) == self.section}


def _joined(chains: Mapping[str, str]) -> str:
    return "\n".join(chains[name] for name in sorted(chains))


def _summary(chains: Mapping[str, str]) -> str:
    """Return chains in a few words: ``input drop (9 rules), forward (3 rules)``."""
    parts = []
    for name in sorted(chains, key=lambda name: list(CHAINS).index(name) if name in CHAINS else 9):
        lines = [line.strip() for line in chains[name].splitlines()[1:-1]]
        rules = [line for line in lines if not line.startswith("type ")]
        policy = " drop" if any("policy drop" in line for line in lines) else ""
        parts.append(f"{name or 'other'}{policy} ({len(rules)} {'rule' if len(rules) == 1 else 'rules'})")
    return ", ".join(parts) or "absent"


def _diff(section: str, state: _State, found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    lines: list[str] = []
    for name in dict.fromkeys([*CHAINS, *found, *wanted]):
        old, new = found.get(name, "").splitlines(), wanted.get(name, "").splitlines()
        changes = compared(old, new)[2:]
        lines += [f"{line[0]}{name}: {line[1:].strip()}" for line in changes if line[0] in "+-"]
    if not lines or not state.persists:
        lines += _file_diff(state)
    return "\n".join(lines)


def _file_diff(state: _State) -> list[str]:
    if not state.text:
        return [f"-{path}" for path in _PATHS if path in state.facts.files]
    lines = []
    if state.before != state.file:
        lines.append(f"+{FILE}: {'as above' if not state.before else 'rewritten'}")
    if not state.is_loaded_at_boot:
        lines.append(f"+{next(iter(state.loader.files))}: loads it at boot")
    return lines


def _apply(state: _State) -> str:
    if not state.text:
        return _forget(state.loader)
    lines = assigned({"text": state.file}) + guest_script("nft_load")
    lines += install_word(FILE, '"$text"', "0644")
    if not state.is_loaded_at_boot:
        lines += state.loader.apply
    return lines


def _forget(loader: NftLoader) -> str:
    folders = (FILE.rpartition("/")[0], *loader.folders)
    return (
        f"{assigned({'guard': GUARD, 'text': replacement('')})}{guest_script('nft_load')}"
        f"rm -f {words((FILE, *loader.paths))}\n"
        f"{guest_script('remove_folders')}remove_folders {words(folders)}\n{loader.reload}"
    )


def _undo(state: _State) -> str:
    """Return what restores the old table, file and units; at boot the files suffice.

    The live table comes first, since it does not depend on the disk.
    """
    table = f"printf %s {quote(replacement(state.found + chr(10)))} | nft -f -\n"
    lines = f'[ "$on" != live ] || {table}'
    lines += "".join(f"restore {path}\n" for path in (FILE, *state.loader.paths))
    reload = state.loader.reload
    return lines + (f'[ "$on" != live ] || {reload}' if reload else "")
