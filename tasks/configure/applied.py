"""Record in the guest what was applied to it, once that is confirmed."""

from __future__ import annotations

import json
from types import MappingProxyType

from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.guest.facts.applied import PATH, SCHEMA, Applied
from labrun.tasks.guest.shell import install
from labrun.tasks.state.fingerprint import as_text, fingerprint

__all__ = ["renewed", "write_applied"]


def renewed(before: Applied | None, plan: HostPlan, *, run: str, version: str, digest: str) -> Applied:
    """Return the record once ``plan`` was found in place; sections missing from it stay as recorded.

    Items that are not as declared are not recorded, since they were not applied: their earlier entries
    still say what was applied last.
    """
    sections = {part.section for part in plan.sections}
    items = plan.items()
    known = before.items if before is not None else {}
    kept = {key: value for key, value in known.items() if key[0] not in sections or key in items}
    now = {key: as_text(fingerprint(item)) for key, item in items.items() if item.state == "ok" and item.want}
    return Applied(run, version, digest, MappingProxyType({**kept, **now}))


def write_applied(applied: Applied) -> str:
    """Return shell text that writes the record into the guest atomically."""
    items: dict[str, dict[str, str]] = {}
    for (section, name), each in sorted(applied.items.items()):
        items.setdefault(section, {})[name] = each
    content = {
        "schema": SCHEMA,
        "run": applied.run,
        "labrun": applied.version,
        "digest": applied.digest,
        "items": items,
    }
    return install(PATH, json.dumps(content) + "\n", "0600")
