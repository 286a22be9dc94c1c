"""The nmcli commands that a person would type for a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from labrun.secrets import MASK, is_secret
from labrun.tasks.configure.keyfile import properties
from labrun.tasks.configure.nm_profiles import profile_id
from labrun.tasks.configure.nm_state import Device
from labrun.tasks.configure.shell import quote

__all__ = ["explain_profile"]

_IMPLIED = frozenset({"connection.id", "connection.type"})


def explain_profile(profile: Mapping[str, Any], device: Device | None) -> Iterator[str]:
    """Yield the commands that make the profile and bring it up, or change the one ``device`` runs on."""
    name = profile_id(profile["network"])
    settings = properties(profile["settings"]) | dict(profile["properties"])
    words = [
        word
        for key, value in settings.items()
        if key not in _IMPLIED
        for word in (
            key.replace("ethernet.", "802-3-ethernet.", 1),
            MASK if is_secret(key) else value,
        )
    ]
    if device is None:
        typed = " ".join(quote(word) for word in words)
        # Of an existing machine without a MAC in the file, only the machine itself can tell the NIC.
        nic = "'*'" if "ethernet.mac-address" in settings else "NIC"
        yield f"nmcli connection add type ethernet ifname {nic} con-name {quote(name)} {typed}"
        yield f"nmcli connection up {quote(name)}"
        return
    if device.profile_id != name:
        words = ["connection.id", name, *words]
    yield f"nmcli connection modify {quote(device.profile_id)} " + " ".join(quote(word) for word in words)
    yield f"nmcli device reapply {quote(device.interface)}"
