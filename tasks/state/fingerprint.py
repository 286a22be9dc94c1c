"""What was last applied, as hashes: the third side of a comparison, beside the file and the host.

There is one format for a guest's record and for the tag of a libvirt object. Hashes show whether a side has
changed since, and leak no values.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from labrun.tasks.state.item import Item

__all__ = ["Fingerprint", "Fingerprints", "as_text", "digest_of", "fingerprint", "from_text", "is_of"]

_LENGTH = 16


class Fingerprint(NamedTuple):
    """The hashes of one attribute as it was wanted and as it was found when the two agreed last.

    They differ where the host spells a value in its own way.
    """

    wanted: str
    found: str


Fingerprints = Mapping[str, Fingerprint]
"""The fingerprints of one thing by attribute."""


def digest_of(value: str) -> str:
    """Return the hash of an attribute's value."""
    return sha256(value.encode("utf-8", errors="surrogateescape")).hexdigest()[:_LENGTH]


def is_of(recorded: str, value: str) -> bool:
    """Tell whether a hash is that of a value; earlier versions kept fewer digits."""
    return bool(recorded) and digest_of(value).startswith(recorded)


def fingerprint(item: Item) -> Fingerprints:
    """Return what to record of an item that is as wanted."""
    return {
        key: Fingerprint(digest_of(value), digest_of(item.seen.get(key, item.have.get(key, ""))))
        for key, value in item.want.items()
    }


def as_text(applied: Fingerprints) -> str:
    """Return the record of one thing: ``memory=1a2b… nics=3c4d…/5e6f…``; one hash if both are the same.

    It is one line of printable ASCII if the attributes' names are.
    """
    return " ".join(
        f"{key}={one}" if one == other else f"{key}={one}/{other}"
        for key, (one, other) in sorted(applied.items())
    )


def from_text(text: str) -> dict[str, Fingerprint]:
    """Return what :func:`as_text` wrote, empty for anything else."""
    fingerprints = {}
    for word in text.split():
        key, separator, hashes = word.rpartition("=")
        wanted, _, observed = hashes.partition("/")
        if separator and wanted:
            fingerprints[key] = Fingerprint(wanted, observed or wanted)
    return fingerprints
