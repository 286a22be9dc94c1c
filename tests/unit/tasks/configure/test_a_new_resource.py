"""What CONTRIBUTING says of a new resource: one class and its line, and everything else knows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.inventory.model import Host, Lab
from labrun.outcome import Status
from labrun.tasks.configure import resources
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.drift.host_rows import host_rows
from labrun.tasks.guest.shell import Facts, Probe, apply_script, install, parse_facts, quote
from labrun.tasks.state.item import Item
from tests.unit.small_labs import two_networks

MARK = "mark"


class Motd:
    """The message of the day, as somebody would add it: the host's role, in a file."""

    section = "motd"

    def __init__(self, path: Path):
        self.path = str(path)

    def desired(self, lab: Lab, host: Host) -> Json | None:
        return {"text": f"{host.name} of {lab.name}\n"}

    def names(self, want: Json) -> tuple[str, ...]:
        return ("motd",)

    def facts(self, want: Json) -> tuple[Probe, ...]:
        return (Probe((quote(self.path),)),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        text, actual = str(want["text"]), facts.files.get(self.path, "")
        item = Item("motd", {"": text.strip()}, {"": actual.strip()})
        if item.state == "ok":
            return SectionPlan(self.section, (item,))
        return SectionPlan(self.section, (item,), install(self.path, text, "0644"), f"restore {self.path}\n")

    def explain(self, want: Json) -> tuple[str, ...]:
        return (f"printf %s {quote(str(want['text']))} >{self.path}",)


def shell(script: str) -> str:
    return subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_class_and_a_line_are_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    motd = Motd(tmp_path / "motd")
    monkeypatch.setattr(resources, "RESOURCES", (*resources.RESOURCES, motd))
    spec = resources.host_spec(two_networks(), "host00")
    assert spec["sections"]["motd"] == {"text": "host00 of small\n"}
    assert ("motd", "motd") in resources.row_names(spec)
    assert resources.sections_of(spec)[-1] == "motd"
    assert f"printf %s 'host00 of small\n' >{motd.path}" in resources.explain(spec)

    def look() -> Facts:
        return parse_facts(shell(resources.gather(spec, ["motd"], MARK)), MARK)

    def status() -> Status:
        (row,) = [row for row in host_rows(spec, look()) if row.section == "motd"]
        return row.status

    (before,) = resources.plan_host(spec, look(), ["motd"]).sections
    assert [item.state for item in before.items] == ["change"]
    assert status() is Status.PENDING
    shell(apply_script([(before.section, before.apply)], MARK))
    (after,) = resources.plan_host(spec, look(), ["motd"]).sections
    assert ([item.state for item in after.items], after.apply) == (["ok"], "")
    assert status() is Status.OK
