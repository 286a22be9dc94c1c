"""NetworkManager's own configuration: whether its next start leaves a NIC alone, or reads no profiles.

What it says takes effect when NetworkManager reads it, which may be at the next boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from labrun.tasks.guest.facts.nm import Device
from labrun.tasks.guest.keyfile import parse
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["CONFIGURATION", "admits", "left_alone", "lists", "means"]

_MAIN = "/etc/NetworkManager/NetworkManager.conf"
# From the weakest to the strongest; a file hides those of the same name in the folders before it.
_FOLDERS = ("/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d")
_PROFILES = "/etc/NetworkManager/system-connections"
_ETHERNET = ("ethernet", "802-3-ethernet")
_ALLOWED = "allowed-connections"
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")

CONFIGURATION = Probe((_MAIN, *(f"{folder}/*.conf" for folder in _FOLDERS)))
"""Reads all its files; no process is started."""


def left_alone(facts: Facts, device: Device) -> str | None:
    """Return why NetworkManager would not bring up a NIC after its next start, None if it would.

    Only what certainly means this NIC counts.
    """
    texts = list(_in_order(facts))
    if any(_is_managed(text, device) for _, text in texts):
        return None
    unmanaged, folder = ("", ""), ("", "")
    for file, text in texts:
        for key, value, devices in lists(text):
            certain = key == "managed" or (key == _ALLOWED and not admits(value, device))
            if certain and means(devices, device, unknown=False):
                return (
                    f"{file} has NetworkManager leave {device.interface} alone at the next boot: take it out"
                )
        keyfile = parse(text).get("keyfile", {})
        unmanaged = (file, keyfile["unmanaged-devices"]) if "unmanaged-devices" in keyfile else unmanaged
        folder = (file, keyfile["path"].rstrip("/")) if "path" in keyfile else folder
    if means(unmanaged[1], device, unknown=False):
        named = f"{unmanaged[0]} has NetworkManager leave {device.interface} alone at the next boot"
        return f"{named} (unmanaged-devices={unmanaged[1]}): take it out"
    if folder[1] not in ("", _PROFILES):
        return f"{folder[0]} has NetworkManager read profiles in {folder[1]} at the next boot: take it out"
    return None


def _in_order(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield the configuration's files with their text, in the order in which later ones count more."""
    names = {}
    for folder in _FOLDERS:
        for path in facts.files:
            if path.startswith(f"{folder}/"):
                names[path.rpartition("/")[2]] = path
    vendor = sorted(path for path in names.values() if not path.startswith(_FOLDERS[-1]))
    own = sorted(path for path in names.values() if path.startswith(_FOLDERS[-1]))
    for path in (*vendor, _MAIN, *own):
        if path in facts.files:
            yield path, facts.files[path]


def _is_managed(text: str, device: Device) -> bool:
    return any(
        settings.get("managed") in _YES and means(settings.get("match-device", "*"), device)
        for name, settings in parse(text).items()
        if name.startswith("device")
    )


def lists(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the settings that exclude devices: key, value, and their list of device patterns."""
    for name, settings in parse(text).items():
        if "unmanaged-devices" in settings:
            value = settings["unmanaged-devices"]
            yield "unmanaged-devices", value, value
        if settings.get("managed") in _NO and name != "ifupdown":
            yield "managed", settings["managed"], settings.get("match-device", "*")
        if _ALLOWED in settings:
            yield _ALLOWED, settings[_ALLOWED], settings.get("match-device", "*")


def admits(value: str, device: Device) -> bool:
    """Tell whether a list of allowed connections may have a NIC's active profile in it."""
    words = [word.strip() for word in re.split(r"[;,]", value) if word.strip()]
    if all(word.startswith("except:") for word in words):
        return True
    own = {f"uuid:{device.profile}", f"id:{device.profile_id}"}
    # Where a profile comes from is not known here.
    return any(word in own or not word.startswith(("uuid:", "id:")) for word in words)


def means(patterns: str, device: Device, *, unknown: bool = True) -> bool:
    """Tell whether a list of device patterns may match this one; ``unknown`` patterns do so by default."""
    words = [word.strip() for word in re.split(r"[;,]", patterns) if word.strip()]
    excepted = [word.removeprefix("except:") for word in words if word.startswith("except:")]
    meant = [word for word in words if not word.startswith("except:")]
    if any(_hits(word, device, unknown=False) for word in excepted):
        return False
    # A list of exceptions only matches all other devices.
    return any(_hits(word, device, unknown=unknown) for word in meant) or (not meant and bool(excepted))


def _hits(pattern: str, device: Device, *, unknown: bool) -> bool:
    """Tell whether one pattern matches this device; ``unknown`` is the result for unknown patterns."""
    kind, separator, rest = pattern.partition(":")
    if not separator:
        return fnmatchcase(device.interface, pattern)
    if kind == "interface-name":
        return fnmatchcase(device.interface, rest.lstrip("=~"))
    if kind == "mac":
        return rest.lower() == device.mac
    if kind == "type":
        return rest in (*_ETHERNET, "veth")
    if re.fullmatch(r"(?i)([0-9a-f]{2}:){5}[0-9a-f]{2}", pattern):
        return pattern.lower() == device.mac
    return unknown
