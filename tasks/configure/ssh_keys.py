"""People's keys: those of the lab file are added; those that labrun added and it no longer has are removed.

A key that somebody else put there is named and left alone, unless the lab file says ``exclusive: true``. The
lab's own key stays in any case. A key is known by its type and blob, whatever options and comment it has.
That holds for every account of the machine, whoever made it; what the lab file's ``files`` hold is wanted.
On an existing machine, which has keys of its own, other keys are neither named nor removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.sshd_profiles import login_user
from labrun.tasks.guest.facts.applied import PROBE as APPLIED
from labrun.tasks.guest.facts.applied import read_applied
from labrun.tasks.guest.facts.authorized_keys import (
    Account,
    Key,
    accounts,
    has_more_accounts,
    keys_in,
    probe,
    seeded_keys,
)
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.sections import SSH_KEYS

__all__ = ["SshKeys"]

_IN = "authorized"
# An account without keys costs no process, but a hostile host may have any number.
_MOST_OTHERS = 200


class SshKeys:
    """The resource ``ssh_keys``; rows are named ``USER SHA256:FINGERPRINT``."""

    section = SSH_KEYS.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return the keys of the lab file and the login user."""
        return {
            "user": login_user(host),
            "keys": list(host.ssh_keys),
            "comment": f"labrun-{lab.name}",
            "sshd": sorted(host.sshd or ()),
            "files": " ".join((host.sshd or {}).get("authorizedkeysfile", ())),
            "exclusive": host.exclusive,
            **({"existing": True} if host.machine is None else {}),
            **({"declared": [file.path for file in host.files]} if host.files else {}),
        }

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the names of the keys in the lab file."""
        return tuple(_name(want["user"], key) for key in _wanted(want))

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Ask sshd which files it reads, and read them; also what was put there by labrun."""
        others = 0 if want.get("existing") else _MOST_OTHERS
        return (probe(want["user"], want["files"], others), APPLIED)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the keys that are missing, and those that sshd accepts although the lab file lacks them."""
        found = {account.user: account for account in accounts(facts)}
        login = found.get(want["user"])
        fault = f"sshd was not asked for {want['user']}" if login is None else _fault(login)
        if login is None or fault:
            return SectionPlan(self.section, tuple(_refused(want, fault)))
        edits = _Edits()
        judge = _Judge(want, facts)
        items = [*judge.wanted(login, edits)]
        # Root's keys on an existing machine are not labrun's to look at, unless it logs in as root.
        for account in (login,) if want.get("existing") else found.values():
            items.extend(judge.surplus(account, edits))
        if has_more_accounts(facts):
            why = f"it has more than {_MOST_OTHERS} accounts: whose keys the others accept is not known"
            items.append(Item("accounts", have={"": "too many"}, left=why))
        return SectionPlan(
            self.section,
            tuple(items),
            edits.apply(),
            "".join(f"restore {quote(path)}\n" for path in edits.paths),
            edits.commands(),
            saves=tuple(edits.paths),
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that add each key."""
        user = want["user"]
        lines = [f"printf '%s\\n' {quote(key.line)} >>~{user}/.ssh/authorized_keys" for key in _wanted(want)]
        return (f"install -d -m 700 -o {user} ~{user}/.ssh", *lines) if lines else ()


def _wanted(want: Json) -> list[Key]:
    return list(dict.fromkeys(key for text in want["keys"] for key in keys_in(text)))


def _name(user: str, key: Key) -> str:
    return f"{user} {key.fingerprint}" + (" cert-authority" if key.authority else "")


def _fault(login: Account) -> str:
    if login.fault:
        return f"sshd cannot be queried: {login.fault}"
    return "" if login.files or login.meant else "sshd reads no key files (AuthorizedKeysFile none)"


def _refused(want: Json, why: str) -> Iterator[Item]:
    for key in _wanted(want):
        name = _name(want["user"], key)
        yield Item(name, {"": _IN}, {"": ""}, refused=why, words=Words(str(key)))


@dataclass(slots=True)
class _Edits:
    """What to change in each file: its owner, the lines to remove and the keys to add."""

    paths: dict[str, tuple[str, list[Key], list[Key]]] = field(default_factory=dict)

    def _of(self, user: str, path: str) -> tuple[str, list[Key], list[Key]]:
        return self.paths.setdefault(path, (user, [], []))

    def drop(self, user: str, path: str, key: Key) -> None:
        self._of(user, path)[1].append(key)

    def add(self, user: str, path: str, key: Key) -> None:
        self._of(user, path)[2].append(key)

    def apply(self) -> str:
        if not self.paths:
            return ""
        calls = (
            f"put_keys {words((user, path, _lines(drop), _lines(add)))}\n"
            for path, (user, drop, add) in self.paths.items()
        )
        return guest_script("keys_apply") + "".join(calls)

    def commands(self) -> tuple[str, ...]:
        lines = []
        for path, (_, drop, add) in self.paths.items():
            lines += [f"sed -i '\\#{key.blob}#d' {quote(path)}" for key in drop]
            lines += [f"printf '%s\\n' {quote(key.line)} >>{quote(path)}" for key in add]
        return tuple(lines)


def _lines(keys: Sequence[Key]) -> str:
    return "\n".join(dict.fromkeys(key.line for key in keys))


class _Judge:
    """Compare the accounts of one host with the lab file."""

    def __init__(self, want: Json, facts: Facts):
        self._user: str = want["user"]
        self._comment: str = want["comment"]
        self._exclusive: bool = want["exclusive"]
        self._existing = bool(want.get("existing"))
        self._set = frozenset(want["sshd"])
        self._declared = frozenset(want.get("declared", ()))
        self._wanted = _wanted(want)
        self._given = seeded_keys(facts)
        self._own = {key for key in self._given if key.comment == self._comment}
        applied = read_applied(facts)
        self._applied: Mapping[tuple[str, str], str] = applied.items if applied is not None else {}

    def wanted(self, login: Account, edits: _Edits) -> Iterator[Item]:
        """Yield the keys of the lab file; also the lab's own where it is about to be needed elsewhere."""
        places = login.meant or login.files
        have = _keys_at(login, places)
        moved = [key for key in self._given if key in self._own and key not in have] if login.meant else []
        for key in (*self._wanted, *dict.fromkeys(moved)):
            there = key in have or (not login.meant and key in login.printed)
            if not there:
                edits.add(login.user, places[0], key)
            yield Item(
                _name(login.user, key),
                {"": _IN},
                {"": _IN} if there else {},
                words=Words(str(key), str(key) if there else "absent", f"+{places[0]}: {key}"),
            )

    def surplus(self, account: Account, edits: _Edits) -> Iterator[Item]:
        """Yield the accepted keys beyond those of the lab file."""
        allowed: Collection[Key] = {*self._wanted, *self._own}
        for key, where in _places(account).items():
            if account.other and self._declared.issuperset(where):
                continue
            if key in allowed or (not where and "authorizedkeyscommand" in self._set):
                continue
            if self._existing and not (where and self._is_given(account.user, key)):
                continue
            paths = ", ".join(where) or account.command
            item = Item(
                _name(account.user, key),
                have={"": _IN},
                words=Words(actual=f"{key} in {paths}", diff="\n".join(f"-{path}: {key}" for path in where)),
            )
            yield self._surplus(item, key, account, where, edits)
        if self._existing:
            return
        # What the lab file sets is wanted.
        others = {"AuthorizedKeysCommand": account.by_key, "TrustedUserCAKeys": account.signers}
        for keyword, value in others.items():
            if value and keyword.lower() not in self._set:
                why = f"sshd accepts keys through {keyword}, which the lab file does not set"
                yield Item(f"{account.user} {keyword}", have={"": value}, left=why)

    def _is_given(self, user: str, key: Key) -> bool:
        """Tell whether labrun put the key there, at the first boot or later.

        The first boot of an existing machine was not this lab's, even if labrun made it for another one.
        """
        seeded = key in self._given
        recorded = (SSH_KEYS.name, _name(user, key)) in self._applied
        return recorded and not seeded if self._existing else recorded or seeded

    def _surplus(
        self, item: Item, key: Key, account: Account, where: Mapping[str, list[Key]], edits: _Edits
    ) -> Item:
        given = self._is_given(account.user, key)
        if key.comment == self._comment:
            return replace(item, left="it is named like one of the lab's own keys, and is not on record")
        if not where:
            return replace(
                item, left=f"{account.command} prints it: remove it there, or add it to `ssh_keys`"
            )
        if not given and not self._exclusive:
            return replace(
                item,
                left="neither the lab file nor labrun put it there: remove it, add it to `ssh_keys`,"
                " or let `exclusive: true` remove such keys",
            )
        for path, lines in where.items():
            for line in lines:
                edits.drop(account.user, path, line)
        return replace(item, note="labrun put it there, and the lab file no longer has it" if given else None)


def _keys_at(account: Account, paths: Sequence[str]) -> set[Key]:
    return {key for path in paths for key in account.keys.get(path, ())}


def _places(account: Account) -> dict[Key, dict[str, list[Key]]]:
    """Return each accepted key, with its lines by file; without a file a command prints it."""
    found: dict[Key, dict[str, list[Key]]] = {}
    for path, keys in account.keys.items():
        for key in keys:
            found.setdefault(key, {}).setdefault(path, []).append(key)
    for key in account.printed:
        found.setdefault(key, {})
    return found
