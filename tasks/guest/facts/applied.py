"""What was last applied to a host, recorded in the guest itself: the third side that `drift` compares.

The record has one text a thing, as ``tasks/state/fingerprint.py`` writes and reads it: hashes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.bounded import as_integer, as_object, as_text, read_json
from labrun.errors import UnreadableError
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["PATH", "PROBE", "SCHEMA", "Applied", "read_applied", "record_of"]

PATH = "/var/lib/labrun/applied.json"
PROBE = Probe((PATH,))
SCHEMA = 2
_KIND = "a record of labrun's"


@dataclass(frozen=True, slots=True)
class Applied:
    """The record of a confirmed `configure`: its run ID, labrun's version, the lab file's digest, the items.

    ``items`` maps section and name to the fingerprints of the item's attributes, as text.
    """

    run: str = ""
    version: str = ""
    digest: str = ""
    items: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))


def read_applied(facts: Facts) -> Applied | None:
    """Return the guest's record; None if there is none or it cannot be read."""
    try:
        return record_of(facts)
    except UnreadableError:
        return None


def record_of(facts: Facts) -> Applied | None:
    """Return the guest's record, None if there is none.

    Raises UnreadableError for a damaged record and for one of another version: what was applied is then
    unknown.
    """
    text = facts.files.get(PATH)
    if text is None:
        return None
    record = as_object(read_json(text, PATH), PATH, _KIND)
    schema = as_integer(record.get("schema"), PATH)
    if schema != SCHEMA:
        which = "an earlier" if schema < SCHEMA else "a later"
        raise UnreadableError(f"{which} labrun recorded it", step=PATH)
    items = {
        (section, name): as_text(texts, PATH)
        for section, names in as_object(record.get("items"), PATH, _KIND).items()
        for name, texts in as_object(names, PATH, _KIND).items()
    }
    run, version, digest = (as_text(record.get(key), PATH) for key in ("run", "labrun", "digest"))
    return Applied(run, version, digest, MappingProxyType(items))
