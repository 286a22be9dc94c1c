"""A guest without a login: what is set in one that is new, and that nothing is where nothing is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from labrun.ports import Completed
from labrun.tasks.configure.resources import host_spec
from labrun.tasks.guest.shell import Facts
from labrun.tasks.provision import readdress
from labrun.tasks.provision.readdress import OtherWayIn
from tests.unit.tasks.configure.test_vlan_files import ETH0, FORMER, LAB, facts, vlan

MARKER = re.compile(r"^m='?(\S+?)'?$", re.MULTILINE)
SPEC = host_spec(LAB, "phone")


@pytest.fixture(autouse=True)
def without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest is looked into at once, not after the seconds in which it may answer by itself."""
    monkeypatch.setattr(readdress, "_PATIENCE", 0.0)


@dataclass
class Guest:
    """A guest that has booted and answers every gather with these facts; collects what it is told to do."""

    found: Facts
    applied: list[str] = field(default_factory=list)
    looks: int = 0

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        assert timeout > 0
        self.looks += 1
        found = MARKER.search(script)
        if found is None:
            return Completed(0, "", "", 0.1)
        mark = found[1]
        if script.startswith("trap"):
            self.applied.append(script)
            return Completed(0, f"\n{mark} status nmcli 0\n\n{mark} end\n", "", 0.1)
        frames = [f"\n{mark} file {path}\n{text}" for path, text in self.found.files.items()]
        for name, each in self.found.commands.items():
            frames.append(f"\n{mark} out {name}\n{each.text}\n\n{mark} status {name} {each.status}\n")
        frames += [f"\n{mark} {word}\n" for word in self.found.words]
        return Completed(0, "".join(frames) + f"\n{mark} end\n", "", 0.1)


def tried(guest: Guest, *, is_new: bool, spec: Mapping[str, Any] = SPEC) -> OtherWayIn:
    way = OtherWayIn("phone", spec, None, lambda: guest, is_new=is_new)
    assert way.try_it() is bool(way.note)
    return way


@pytest.mark.parametrize(
    ("is_new", "why"), [(True, "it had no VLANs yet"), (False, "its address had moved")], ids=["new", "known"]
)
def test_a_guest_whose_cloud_init_made_no_vlan_gets_it(is_new: bool, why: str) -> None:
    guest = Guest(facts({}, ETH0, by=FORMER))
    assert tried(guest, is_new=is_new).note == f"{why}: trunk, voice set without a login"
    (script,) = guest.applied
    assert "vlan_make voice vlan30 eth0 30 " in script


def test_a_new_guest_that_has_its_vlans_is_left_to_configure() -> None:
    guest = Guest(facts({}, ETH0, vlan(), by=FORMER))
    assert tried(guest, is_new=True).note == ""
    assert (guest.looks, guest.applied) == (2, [])
    assert tried(guest, is_new=False).note
    assert guest.applied


def test_a_new_guest_without_vlans_is_not_looked_into() -> None:
    guest = Guest(facts({}, ETH0, by=FORMER))
    bare = [each for each in SPEC["sections"]["nmcli"]["profiles"] if not each["device"]]
    spec = {**SPEC, "sections": {"nmcli": {**SPEC["sections"]["nmcli"], "profiles": bare}}}
    assert tried(guest, is_new=True, spec=spec).note == ""
    assert guest.looks == 0
