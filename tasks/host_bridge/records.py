"""The bridges that labrun made on this machine: a file each, written by the guard when it keeps a change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from labrun.errors import HostBridgeError
from labrun.tasks.host_bridge.model import Manager, Record

__all__ = ["as_text", "read_record", "read_records", "record_file"]

_FOLDER = Path("/var/lib/labrun/host-bridge")


def record_file(bridge: str) -> Path:
    """Return where a bridge's record is kept."""
    return _FOLDER / f"{bridge}.json"


def as_text(record: Record) -> str:
    """Return what the file of a record says."""
    return json.dumps(
        {
            "bridge": record.bridge,
            "nic": record.nic,
            "manager": record.manager.value,
            "values": dict(record.values),
            "before": dict(record.before),
            "after": dict(record.after),
        },
        indent=1,
    )


def read_record(bridge: str) -> Record | None:
    """Return the record of a bridge, None if labrun made none of this name.

    Raises HostBridgeError for a file that is not a record.
    """
    path = record_file(bridge)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Record(
            str(content["bridge"]),
            str(content["nic"]),
            Manager(content["manager"]),
            _texts(content["values"]),
            _texts(content["before"]),
            _texts(content["after"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HostBridgeError(f"{path} cannot be read: {error}") from None


def read_records() -> dict[str, Record]:
    """Return all records that this user may read, by the name of the bridge."""
    found = {}
    for path in sorted(_FOLDER.glob("*.json")):
        try:
            record = read_record(path.stem)
        except HostBridgeError:
            continue
        if record is not None:
            found[record.bridge] = record
    return found


def _texts(value: Mapping[str, object]) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()}
