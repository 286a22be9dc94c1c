"""Record in the guest what was applied to it, once that is confirmed."""

from __future__ import annotations

import json
from hashlib import sha256
from types import MappingProxyType

from labrun.tasks.configure.plan import HostPlan, Item
from labrun.tasks.guest.facts.applied import PATH, SCHEMA, Applied, Fingerprint
from labrun.tasks.guest.shell import install

__all__ = ["fingerprint", "renewed", "write_applied"]


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:16]


def fingerprint(item: Item) -> Fingerprint:
    """Return the hashes of the item's desired and observed state."""
    declared = item.expected if item.declared is None else item.declared
    observed = item.actual if item.observed is None else item.observed
    return Fingerprint(_hash(declared), _hash(observed))


def renewed(before: Applied | None, plan: HostPlan, *, run: str, version: str, digest: str) -> Applied:
    """Return the record once ``plan`` was found in place; sections missing from it stay as recorded.

    Items that are not as declared are not recorded, since they were not applied: their earlier entries
    still say what was applied last.
    """
    sections = {part.section for part in plan.sections}
    items = plan.items()
    known = before.items if before is not None else {}
    kept = {key: value for key, value in known.items() if key[0] not in sections or key in items}
    now = {key: fingerprint(item) for key, item in items.items() if item.state == "ok"}
    return Applied(run, version, digest, MappingProxyType({**kept, **now}))


def write_applied(applied: Applied) -> str:
    """Return shell text that writes the record into the guest atomically."""
    items: dict[str, dict[str, list[str]]] = {}
    for (section, name), each in sorted(applied.items.items()):
        items.setdefault(section, {})[name] = [each.declared, each.observed]
    content = {
        "schema": SCHEMA,
        "run": applied.run,
        "labrun": applied.version,
        "digest": applied.digest,
        "items": items,
    }
    return install(PATH, json.dumps(content) + "\n", "0600")
