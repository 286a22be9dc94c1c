"""A healthy host as it answers what the next boot is asked about, and the same with other answers."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

from labrun.tasks.configure.next_boot import next_boot_fault
from labrun.tasks.configure.plan import HostPlan, Seen
from labrun.tasks.guest.shell import Captured, Facts

ADDRESS, MAC = "10.0.0.1", "52:54:00:aa:00:01"
FOLDER = "/etc/NetworkManager/system-connections"
OWN, OTHER = f"{FOLDER}/labrun-left.nmconnection", f"{FOLDER}/other.nmconnection"
PROFILE = f"[connection]\nid=labrun-left\ntype=ethernet\n\n[ethernet]\nmac-address={MAC}\n"
RIVAL = "[connection]\nid=other\ntype=ethernet\nautoconnect-priority=50\n"

Commands = dict[str, Captured]


def ok(text: str = "") -> Captured:
    return Captured(text, 0)


def units(**changes: str | None) -> str:
    """Return what systemd says of the units; ``a_service="masked"`` changes one, None leaves it out.

    The word is what its file is, and after a slash whether it runs.
    """
    host: dict[str, str | None] = {
        "NetworkManager_service": "enabled/active",
        "dbus_service": "static/active",
        "dbus_socket": "static/active",
        "ssh_service": "enabled/active",
        "ssh_socket": "disabled/inactive",
        "systemd-networkd_service": "disabled/inactive",
        "networking_service": None,
        "systemd-logind_service": "static/active",
        "systemd-user-sessions_service": "static/active",
        "multi-user_target": "static/active",
        "target": "multi-user.target",
        **changes,
    }
    blocks = []
    for key, words in host.items():
        name = ".".join(key.rsplit("_", 1))
        if key == "target":
            blocks.append(f"Id=default.target\nTarget={words}")
        elif words is None:
            blocks.append(f"Id={name}\nLoadState=not-found\nActiveState=inactive\nUnitFileState=")
        else:
            state, _, active = words.partition("/")
            loaded = "masked" if state == "masked" else "loaded"
            blocks.append(
                f"Id={name}\nLoadState={loaded}\nActiveState={active or 'active'}\nUnitFileState={state}"
            )
    return "\n\n".join(blocks) + "\n"


def objects(file: str = OWN, available: tuple[str, ...] = (OWN,), *, state: int = 100) -> Captured:
    """Return what NetworkManager says: one NIC, with its active profile and those that could be."""
    bus = "org.freedesktop.NetworkManager"
    profiles = {path: f"/s/{number}" for number, path in enumerate(dict.fromkeys((file, *available)))}
    tree: dict[str, Any] = {
        "/d/1": {
            f"{bus}.Device": {
                "DeviceType": 1,
                "Interface": "eth0",
                "HwAddress": MAC.upper(),
                "State": state,
                "ActiveConnection": "/a/1",
                "AvailableConnections": [profiles[path] for path in available],
            }
        },
        "/a/1": {f"{bus}.Connection.Active": {"Uuid": "u", "Id": "left", "Connection": profiles[file]}},
    }
    tree |= {at: {f"{bus}.Settings.Connection": {"Filename": path}} for path, at in profiles.items()}
    return ok(json.dumps({"type": "a", "data": [tree]}))


LINKS = ok(
    json.dumps(
        [
            {
                "ifname": "eth0",
                "mtu": 1500,
                "addr_info": [{"local": ADDRESS, "prefixlen": 24, "scope": "global"}],
            }
        ]
    )
)
BEFORE: Commands = {"nm": objects(), "link": LINKS, "route4": ok("[]")}
HEALTHY: Commands = {**BEFORE, "boot-before": ok(units()), "boot-now": ok(units()), "boot-sshd": ok()}


def fault(
    changes: Commands,
    *,
    before: Commands | None = None,
    old: str = PROFILE,
    new: str = PROFILE,
    address: str | None = ADDRESS,
) -> str | None:
    """Return the finding for a healthy host of which some answers are others after the change."""
    plan = HostPlan("a", ())
    was = Facts(MappingProxyType({OWN: old}), MappingProxyType({**BEFORE, **(before or {})}))
    now = Facts(MappingProxyType({OWN: new}), MappingProxyType({**HEALTHY, **changes}))
    return next_boot_fault(Seen(plan, was), Seen(plan, now), address)


def now(**changes: str | None) -> Commands:
    return {"boot-now": ok(units(**changes))}
