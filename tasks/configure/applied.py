"""What was last applied to a host, kept in the guest itself: the third side that `drift` compares with.

Only hashes are kept: they tell whether the file or the host has moved since, and no value leaks from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from labrun.tasks.configure.plan import HostPlan, Item
from labrun.tasks.configure.shell import Facts, Probe, install

__all__ = [
    "PATH",
    "PROBE",
    "Applied",
    "Fingerprint",
    "fingerprint",
    "read_applied",
    "renewed",
    "write_applied",
]

PATH = "/var/lib/labrun/applied.json"
PROBE = Probe((PATH,))
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hashes of what one item was declared to be and of what was observed, when it last was as declared."""

    declared: str
    observed: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What a confirmed `configure` left: its run ID, labrun's version, the lab file's digest, the items.

    ``items`` maps section and name to their fingerprints.
    """

    run: str = ""
    version: str = ""
    digest: str = ""
    items: Mapping[tuple[str, str], Fingerprint] = field(default_factory=lambda: MappingProxyType({}))


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:16]


def fingerprint(item: Item) -> Fingerprint:
    """Return the hashes of what the item shall be and of what it is now."""
    declared = item.expected if item.declared is None else item.declared
    observed = item.actual if item.observed is None else item.observed
    return Fingerprint(_hash(declared), _hash(observed))


def read_applied(facts: Facts) -> Applied | None:
    """Return what the guest remembers; None where labrun was never here, or the file is not its own."""
    try:
        found = json.loads(facts.files[PATH])
        if found["schema"] != _SCHEMA:
            return None
        items = {
            (str(section), str(name)): Fingerprint(str(pair[0]), str(pair[1]))
            for section, names in found["items"].items()
            for name, pair in names.items()
        }
        return Applied(str(found["run"]), str(found["labrun"]), str(found["digest"]), MappingProxyType(items))
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        return None


def renewed(before: Applied | None, plan: HostPlan, *, run: str, version: str, digest: str) -> Applied:
    """Return the record after ``plan`` was found to be in place; sections it does not have stay as they were.

    Items that are not as declared are not recorded, they were not applied: what was before is still
    what was applied last.
    """
    sections = {part.section for part in plan.sections}
    items = plan.items()
    known = before.items if before is not None else {}
    kept = {key: value for key, value in known.items() if key[0] not in sections or key in items}
    now = {key: fingerprint(item) for key, item in items.items() if item.state == "ok"}
    return Applied(run, version, digest, MappingProxyType({**kept, **now}))


def write_applied(applied: Applied) -> str:
    """Return shell text that puts the record into the guest in one step."""
    items: dict[str, dict[str, list[str]]] = {}
    for (section, name), each in sorted(applied.items.items()):
        items.setdefault(section, {})[name] = [each.declared, each.observed]
    content = {
        "schema": _SCHEMA,
        "run": applied.run,
        "labrun": applied.version,
        "digest": applied.digest,
        "items": items,
    }
    return install(PATH, json.dumps(content) + "\n", "0600")
