"""What was last applied to a host, recorded in the guest itself: the third side that `drift` compares.

Only hashes are kept: they show whether the file or the host has changed since, and leak no values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.bounded import as_list, as_object, as_text, read_json
from labrun.errors import UnreadableError
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["PATH", "PROBE", "SCHEMA", "Applied", "Fingerprint", "read_applied", "record_of"]

PATH = "/var/lib/labrun/applied.json"
PROBE = Probe((PATH,))
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hashes of an item's declared and observed state when it last matched the lab file."""

    declared: str
    observed: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The record of a confirmed `configure`: its run ID, labrun's version, the lab file's digest, the items.

    ``items`` maps section and name to their fingerprints.
    """

    run: str = ""
    version: str = ""
    digest: str = ""
    items: Mapping[tuple[str, str], Fingerprint] = field(default_factory=lambda: MappingProxyType({}))


def read_applied(facts: Facts) -> Applied | None:
    """Return the guest's record; None if there is none or it cannot be read."""
    try:
        return record_of(facts)
    except UnreadableError:
        return None


def record_of(facts: Facts) -> Applied | None:
    """Return the guest's record; None if there is none or it has another schema.

    Raises UnreadableError for a damaged record: what was applied is then unknown.
    """
    text = facts.files.get(PATH)
    if text is None:
        return None
    found = as_object(read_json(text, PATH), PATH, "a record of labrun's")
    if found.get("schema") != SCHEMA:
        return None
    items = {
        (section, name): Fingerprint(*_pair(pair))
        for section, names in as_object(found.get("items"), PATH, "a record of labrun's").items()
        for name, pair in as_object(names, PATH, "a record of labrun's").items()
    }
    run, version, digest = (as_text(found.get(key), PATH) for key in ("run", "labrun", "digest"))
    return Applied(run, version, digest, MappingProxyType(items))


def _pair(value: object) -> tuple[str, str]:
    pair = as_list(value, PATH, "a record of labrun's")
    if len(pair) != 2:
        raise UnreadableError("not a record of labrun's", step=PATH)
    return as_text(pair[0], PATH), as_text(pair[1], PATH)
