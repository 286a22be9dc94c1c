"""The nmcli commands that a person would type for a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from labrun.tasks.configure.keyfile import properties
from labrun.tasks.configure.nm_profiles import profile_id
from labrun.tasks.configure.shell import quote

__all__ = ["explain_profile"]

# Said by `add` itself, or nothing a person would type.
_IMPLIED = frozenset({"connection.id", "connection.type"})


def explain_profile(profile: Mapping[str, Any], interface: str | None) -> Iterator[str]:
    """Yield the commands that make and activate the profile; ``interface`` where reapply will do."""
    name = profile_id(profile["network"])
    settings = properties(profile["settings"]) | dict(profile["properties"])
    words = [
        word
        for key, value in settings.items()
        if key not in _IMPLIED
        for word in (key.replace("ethernet.", "802-3-ethernet.", 1), value)
    ]
    typed = " ".join(quote(word) for word in words)
    verb = "modify" if interface else "add type ethernet ifname '*' con-name"
    yield f"nmcli connection {verb} {quote(name)} {typed}"
    yield f"nmcli device reapply {quote(interface)}" if interface else f"nmcli connection up {quote(name)}"
