"""One NIC as a lab file wants it, whichever manager the guest has."""

from __future__ import annotations

from typing import Any

__all__ = ["MAC", "want"]

MAC = "02:00:00:00:00:01"


def want(**more: Any) -> dict[str, Any]:
    settings = {
        "connection": {"id": "labrun-left", "uuid": "u", "type": "ethernet"},
        "ethernet": {"mac-address": MAC},
        "ipv4": {"method": "manual", "address1": "10.0.0.11/24", "gateway": "10.0.0.1"},
        "ipv6": {"method": "link-local"},
    }
    profile = {
        "network": "left",
        "mac": MAC,
        "existing": False,
        "marks": [],
        "reached_at": None,
        "settings": settings,
        "properties": {},
    }
    return {"profiles": [{**profile, **more}], "exclusive": False, "secrets": []}
