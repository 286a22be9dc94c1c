"""What a lab's state notes of its hypervisors."""

from __future__ import annotations

import json
from pathlib import Path

from labrun.state import LabState
from labrun.state_members import SEVERAL, NotedMember, note_members, noted_members


def test_members_are_as_they_were_noted(tmp_path: Path) -> None:
    state = LabState.open("demo", SEVERAL, tmp_path)
    assert noted_members(state) == {}
    members = {
        "a": NotedMember("qemu:///system", ("one",)),
        "b": NotedMember("qemu+ssh://root@b/system", ("two", "three"), tunnels=True, copies=True),
    }
    note_members(state, members)
    assert noted_members(state) == members


def test_notes_without_snapshots_have_none_elsewhere(tmp_path: Path) -> None:
    state = LabState.open("demo", SEVERAL, tmp_path)
    note_members(state, {"a": NotedMember("qemu:///system", ("one",), copies=True)})
    plain = json.loads(state.members.read_text(encoding="utf-8"))
    del plain["a"]["copies"]
    state.members.write_text(json.dumps(plain), encoding="utf-8")
    assert noted_members(state) == {"a": NotedMember("qemu:///system", ("one",))}
