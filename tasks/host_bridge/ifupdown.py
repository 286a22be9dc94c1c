"""A host bridge by ifupdown: the NIC's stanzas in /etc/network/interfaces, moved to a bridge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import HostBridgeError
from labrun.tasks.host_bridge.model import Addressing, Change, Device, Manager, Record

__all__ = ["back_to_nic", "interfaces_files", "is_defined", "stanzas", "to_bridge", "with_bridge"]

INTERFACES = Path("/etc/network/interfaces")
_BEGIN = re.compile(
    r"\s*(iface|auto|allow-[\w-]+|mapping|source|source-directory|no-auto-down|no-scripts|template|rename)\b"
)
_IFACE = re.compile(r"\s*iface\s+(\S+)(?:\s+(inet6?)\s+(\S+))?")
_FOLLOWED = re.compile(r"\s*(source|source-directory)\s+(\S+)")
_IN_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
_DEPTH = 8
_KIND = "bridge stp_state 0 forward_delay 0"
# Options that only mean something for the address that is replaced.
_OF_ADDRESS = re.compile(
    r"\s*(address|netmask|broadcast|gateway|pointopoint|scope|hostname|client|vendor|leasehours|leasetime)\b"
)


@dataclass(frozen=True, slots=True)
class Stanza:
    """Some lines of a file; ``device`` is set for an ``iface`` stanza."""

    lines: tuple[str, ...]
    device: str | None = None
    family: str = ""
    method: str = ""


def interfaces_files(path: Path = INTERFACES, depth: int = 0) -> dict[str, str]:
    """Return the texts of the files that ifup reads, by path, those that are sourced included.

    Raises HostBridgeError for one that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HostBridgeError(f"{path} cannot be read: {error}") from None
    found = {str(path): text}
    for line in text.splitlines():
        if (match := _FOLLOWED.match(line)) and depth < _DEPTH:
            for each in _sourced(path.parent, *match.groups()):
                found |= interfaces_files(each, depth + 1)
    return found


def _sourced(folder: Path, word: str, pattern: str) -> Iterator[Path]:
    base = Path(pattern) if pattern.startswith("/") else folder / pattern
    if word == "source-directory":
        candidates = sorted(base.glob("*"))
        yield from (each for each in candidates if each.is_file() and _IN_FOLDER.fullmatch(each.name))
    else:
        yield from (each for each in sorted(Path("/").glob(str(base).lstrip("/"))) if each.is_file())


def stanzas(text: str) -> list[Stanza]:
    """Return a file's stanzas; what stands before the first one is one without a device."""
    found: list[list[str]] = [[]]
    continued = False
    for line in text.splitlines():
        if not continued and _BEGIN.match(line):
            found.append([])
        found[-1].append(line)
        continued = line.endswith("\\")
    return [_stanza(tuple(lines)) for lines in found if lines]


def _stanza(lines: tuple[str, ...]) -> Stanza:
    match = _IFACE.match(lines[0])
    return Stanza(lines, match[1], match[2] or "", match[3] or "") if match else Stanza(lines)


def is_defined(files: Mapping[str, str], nic: str) -> bool:
    """Tell whether a file has a stanza for the NIC."""
    return any(each.device == nic for text in files.values() for each in stanzas(text))


def with_bridge(
    files: Mapping[str, str], nic: Device, bridge: str, wanted: Addressing | None
) -> dict[str, str]:
    """Return the new text of each file that changes."""
    changed: dict[str, str] = {}
    begun = False
    for path, text in files.items():
        lines: list[str] = []
        for stanza in stanzas(text):
            if stanza.device != nic.name:
                lines += stanza.lines
                continue
            moved = list(_moved(stanza, nic.name, bridge, wanted))
            if not begun:
                begun = True
                lines += [f"iface {nic.name} inet manual", "", f"auto {bridge}"]
                moved = moved or [f"iface {bridge} inet manual"]
                moved = [moved[0], *_made(nic, bridge), *moved[1:]]
                lines += moved
                lines += [line for version in _versions(wanted) for line in _static(bridge, wanted, version)]
            else:
                lines += moved
        new = "\n".join(lines) + "\n"
        if new != text:
            changed[path] = new
    return changed


def _versions(wanted: Addressing | None) -> tuple[int, ...]:
    return wanted.versions if wanted is not None else ()


def _made(nic: Device, bridge: str) -> list[str]:
    """Return the options that make the bridge: they need nothing but iproute2."""
    return [
        f"    pre-up ip link add name {bridge} address {nic.mac} type {_KIND} || true",
        f"    pre-up ip link set dev {nic.name} master {bridge} up",
        f"    post-down ip link delete {bridge} || true",
    ]


def _moved(stanza: Stanza, nic: str, bridge: str, wanted: Addressing | None) -> Iterator[str]:
    """Yield the lines of a NIC's stanza for the bridge."""
    version = 6 if stanza.family == "inet6" else 4
    name = re.compile(rf"(?<![\w.-]){re.escape(nic)}(?![\w.-])")
    if version in _versions(wanted):
        kept = [line for line in stanza.lines[1:] if line.strip() and not _OF_ADDRESS.match(line)]
        yield f"iface {bridge} {stanza.family} manual"
        yield from (name.sub(bridge, line) for line in kept)
        return
    yield from (name.sub(bridge, line) for line in stanza.lines)


def _static(bridge: str, wanted: Addressing | None, version: int) -> Iterator[str]:
    assert wanted is not None
    gateway = wanted.gateway_of(version)
    for each in wanted.addresses_of(version):
        yield ""
        yield f"iface {bridge} inet{'6' if version == 6 else ''} static"
        yield f"    address {each}"
        if gateway is not None:
            yield f"    gateway {gateway}"
            gateway = None


def to_bridge(nic: Device, bridge: str, wanted: Addressing | None) -> Change:
    """Return the change that makes a bridge with the NIC as its port."""
    files = interfaces_files()
    new = with_bridge(files, nic, bridge, wanted)
    old = {path: files[path] for path in new}
    record = Record(bridge, nic.name, Manager.IFUPDOWN, {}, before=old, after=new)
    return _change(record, old, new, to_bridge=True)


def back_to_nic(record: Record) -> Change:
    """Return the change that puts the files back as they were before the bridge."""
    return _change(record, record.after, record.before, to_bridge=False)


def _change(record: Record, old: Mapping[str, str], new: Mapping[str, str], *, to_bridge: bool) -> Change:
    devices = (record.nic, record.bridge)
    trial = [
        line
        for text in new.values()
        for stanza in stanzas(text)
        if stanza.device in devices
        for line in stanza.lines
    ]
    files = {f"old-files{path}": text for path, text in old.items()}
    files |= {f"new{path}": text for path, text in new.items()}
    files["new/interfaces"] = "\n".join(trial) + "\n"
    values = {"files": " ".join(new)}
    return Change(
        record.bridge, record.nic, record.manager, to_bridge, values, files, record if to_bridge else None
    )
