"""The keys that sshd accepts: from the files that it reads for a user, and from a command that it runs."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.tasks.guest.facts.sshd import asked
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = [
    "GIVEN",
    "USERS",
    "Account",
    "Key",
    "accounts",
    "has_more_accounts",
    "keys_in",
    "probe",
    "seeded_keys",
]

GIVEN = "/var/lib/labrun/given-keys"
"""The public keys that labrun put in after the first boot and without a login, one a line."""
USERS = "/var/lib/labrun/users"
"""The users that were made in the same way, one a line."""

_SEED = "/var/lib/cloud/instance/user-data.txt"
# A quoted part of an option may have spaces, and \\" in it.
_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\s"])++')
_TYPE = re.compile(r"[a-z0-9][a-z0-9@.-]{3,63}")
_MOST_PRINTABLE = 80


@dataclass(frozen=True, slots=True)
class Key:
    """One line that admits a key; two lines are the same key whatever options and comment they have.

    ``authority`` = the key signs certificates, and does not log in itself. ``line`` is the text as it stands.
    """

    type: str
    blob: str
    authority: bool = False
    comment: str = field(default="", compare=False)
    line: str = field(default="", compare=False)

    @property
    def fingerprint(self) -> str:
        """Return it as ``ssh-keygen -l`` shows it."""
        digest = sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")

    def __str__(self) -> str:
        """Return what people know it by: its type and its comment."""
        kind = f"certificates by {self.type}" if self.authority else self.type
        shown = "".join(char for char in self.comment if char.isprintable())[:_MOST_PRINTABLE]
        return f"{kind} {shown}".rstrip()


@dataclass(frozen=True, slots=True)
class Account:
    """What sshd reads for one user.

    ``files`` are the paths in sshd's order, ``meant`` those that the lab file names for it, ``keys`` the
    content of all that exist. ``printed`` are the keys of a command, ``command`` names it; ``by_key`` is a
    command that is asked about each key, so that its keys cannot be listed. ``signers`` is a file of keys
    whose certificates sshd accepts. ``fault`` says why nothing of this is known. ``other`` = labrun never
    logged in as this user: only the files are known, and only if there are any.
    """

    user: str
    files: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()
    keys: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    printed: tuple[Key, ...] = ()
    command: str = ""
    by_key: str = ""
    signers: str = ""
    fault: str = ""
    other: bool = False


def keys_in(text: str) -> Iterator[Key]:
    """Yield the keys of a file of authorized keys; what sshd would skip is skipped.

    Raises UnreadableError for a text with more lines than any real file.
    """
    require_lines(text, "authorized_keys", SETTINGS_LINES)
    for line in text.split("\n"):
        key = _key(line)
        if key is not None:
            yield key


def _key(line: str) -> Key | None:
    stripped = line.strip(" \t\r")
    if not stripped or stripped.startswith("#"):
        return None
    kind, _, rest = stripped.partition(" ")
    blob, _, comment = rest.strip(" \t").partition(" ")
    if "\t" not in kind and _is_key(kind, blob):
        return Key(kind, blob, False, comment.strip(), line)
    options = _WORD.match(stripped)
    if options is None:
        return None
    parts = stripped[options.end() :].split(None, 2)
    if len(parts) < 2 or not _is_key(parts[0], parts[1]):
        # Tabs between the words of a line without options.
        parts = stripped.split(None, 2)
        if len(parts) < 2 or not _is_key(parts[0], parts[1]):
            return None
        return Key(parts[0], parts[1], False, "".join(parts[2:]), line)
    names = {option.partition("=")[0].lower() for option in options[0].split(",")}
    return Key(parts[0], parts[1], "cert-authority" in names, "".join(parts[2:]), line)


def _is_key(kind: str, blob: str) -> bool:
    if not _TYPE.fullmatch(kind):
        return False
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    name = kind.encode("ascii")
    return data[:4] == len(name).to_bytes(4, "big") and data[4 : 4 + len(name)] == name


def probe(user: str, meant: str, others: int = 0) -> Probe:
    """Read the keys of the login user, of root and of former login users, and of ``others`` further accounts.

    ``meant`` is the value of AuthorizedKeysFile in the lab file, empty if it has none.
    """
    values: dict[str, str | int | bool] = {
        "login": user,
        "meant": meant,
        "seed": _SEED,
        "made": USERS,
        "most_others": others,
    }
    script = assigned(values) + guest_script("keys_files") + guest_script("authorized_keys")
    return Probe((GIVEN,), f"(\n{script})\n", after=(asked(user),))


def accounts(facts: Facts) -> tuple[Account, ...]:
    """Return the users that were asked about, the login user first."""
    return facts.once(_accounts)


def _accounts(facts: Facts) -> tuple[Account, ...]:
    users = []
    for name, output in facts.commands.items():
        kind, _, user = name.partition(" ")
        if kind == "keys-sshd":
            users.append(Account(user, fault=output.last_line))
        elif kind == "keys-files":
            users.append(_account(user, output, facts))
    return tuple(users)


def _account(user: str, output: Captured, facts: Facts) -> Account:
    meant = facts.commands.get(f"keys-meant {user}")
    keys: dict[str, tuple[Key, ...]] = {}
    command, printed = "", tuple[Key, ...]()
    for name, text in facts.commands.items():
        if name.startswith(f"keys-in {user} "):
            keys[name.split(" ", 2)[2]] = tuple(keys_in(text.text))
        elif name.startswith(f"keys-printed {user} "):
            command = name.split(" ", 2)[2]
            printed = tuple(keys_in(text.text))
    return Account(
        user,
        tuple(filter(None, output.text.splitlines())),
        tuple(filter(None, meant.text.splitlines())) if meant is not None else (),
        keys,
        printed,
        command,
        facts.word(f"keys-by-key {user}") or "",
        facts.word(f"keys-ca {user}") or "",
        other=facts.word(f"keys-other {user}") is not None,
    )


def has_more_accounts(facts: Facts) -> bool:
    """Tell whether there are accounts that were not asked about."""
    return facts.word("keys-more") is not None


def seeded_keys(facts: Facts) -> tuple[Key, ...]:
    """Return the keys that labrun gave the machine at its first boot, and later without a login."""
    seed = facts.commands.get("keys-seed")
    given = seed.text.replace("'", " ").replace('"', " ") if seed is not None else ""
    return (*keys_in(given), *keys_in(facts.files.get(GIVEN, "")))
