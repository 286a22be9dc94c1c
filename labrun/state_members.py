"""What a lab's state notes of its hypervisors: for `down` without the file, and while one is silent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from labrun.state import LabState
from labrun.state_files import parse_json, read_or_reset, write_private

__all__ = ["SEVERAL", "NotedMember", "note_members", "noted_members"]

SEVERAL = "several:"
"""Takes the place of the hypervisor in the state directory's name for a lab over several."""


@dataclass(frozen=True, slots=True)
class NotedMember:
    """A hypervisor that `up` has made something of the lab on, and the hosts that it put there.

    ``tunnels`` = networks span it and others, ``copies`` = snapshots have files there.
    """

    uri: str
    hosts: tuple[str, ...]
    tunnels: bool = False
    copies: bool = False


def noted_members(state: LabState) -> dict[str, NotedMember]:
    """Return them by name, none if none were noted."""
    nothing: dict[str, NotedMember] = {}
    return read_or_reset(state.members, _parsed, nothing)


def note_members(state: LabState, members: Mapping[str, NotedMember]) -> None:
    """Note them by name. Raises LabrunError if that cannot be written."""
    plain = {name: asdict(each) for name, each in members.items()}
    write_private(state.members, json.dumps(plain) + "\n")


def _parsed(data: bytes) -> dict[str, NotedMember]:
    found = parse_json(data)
    return {
        str(name): NotedMember(
            str(each["uri"]),
            tuple(map(str, each["hosts"])),
            bool(each["tunnels"]),
            # Older versions had none.
            bool(each.get("copies", False)),
        )
        for name, each in found.items()
    }
