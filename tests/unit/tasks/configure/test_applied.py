"""What the guest remembers of the last configure: written, read back, and kept apart by section."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.errors import UnreadableError
from labrun.tasks.configure.applied import renewed, write_applied
from labrun.tasks.configure.plan import HostPlan, SectionPlan
from labrun.tasks.guest.facts.applied import PATH, Applied, read_applied, record_of
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.fingerprint import fingerprint, from_text
from labrun.tasks.state.item import Item

HELD = Item("a", {"": "1", "mode": "x"}, {"": "1", "mode": "x"}, seen={"mode": "0x"})


def plan(*items: Item, section: str = "sysctl") -> HostPlan:
    return HostPlan("one", (SectionPlan(section, items),))


def written(record: Applied, directory: Path) -> Facts:
    """Run the script that writes the record, into another directory, and return what a gather would read."""
    script = write_applied(record).replace(str(Path(PATH).parent), str(directory))
    subprocess.run(["sh", "-e"], input=guest_script("install_file") + script, text=True, check=True)
    return Facts({PATH: (directory / "applied.json").read_text(encoding="utf-8")})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    record = renewed(None, plan(replace(HELD, name="a'b$(x)")), run="R", version="0.1.0", digest="d")
    facts = written(record, tmp_path)
    assert read_applied(facts) == record
    assert from_text(record.items["sysctl", "a'b$(x)"]) == fingerprint(HELD)
    assert (tmp_path / "applied.json").stat().st_mode & 0o777 == 0o600


def test_only_what_is_as_declared_is_recorded_and_other_sections_stay() -> None:
    before = Applied("old", "0", "x", {("sshd", "port"): "=1/2", ("sysctl", "gone"): "=3/4"})
    now = renewed(
        before,
        plan(HELD, Item("b", {"": "1"}, {"": "1"}, refused="no"), Item("c")),
        run="new",
        version="1",
        digest="y",
    )
    assert set(now.items) == {("sshd", "port"), ("sysctl", "a")}
    assert (now.run, now.version, now.digest) == ("new", "1", "y")


def test_what_cannot_be_put_right_is_still_remembered_as_it_was_applied() -> None:
    first = renewed(None, plan(HELD), run="r", version="1", digest="d")
    later = renewed(first, plan(replace(HELD, refused="no")), run="s", version="1", digest="d")
    assert later.items == first.items


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 2}',
        '{"schema": "2"}',
        json.dumps({"schema": 2, "run": "", "labrun": "", "digest": "", "items": {"a": {"b": ["x", "y"]}}}),
        json.dumps({"schema": 2, "run": "", "labrun": "", "digest": "", "items": {"a": {"b": "x" * 5000}}}),
    ],
)
def test_a_file_of_others_is_no_record(text: str) -> None:
    with pytest.raises(UnreadableError):
        record_of(Facts({PATH: text}))
    assert read_applied(Facts({PATH: text})) is None


def test_a_host_without_the_file_has_no_record() -> None:
    assert record_of(Facts()) is None


@pytest.mark.parametrize(("schema", "which"), [(1, "an earlier"), (3, "a later")])
def test_the_record_of_another_version_is_known_as_that_and_replaced(schema: int, which: str) -> None:
    items = {"sysctl": {"a": ["0123456789abcdef", "0123456789abcdef"]}}
    record = {"schema": schema, "run": "r", "labrun": "0", "digest": "d", "items": items}
    facts = Facts({PATH: json.dumps(record)})
    with pytest.raises(UnreadableError, match=f"{which} labrun recorded it$"):
        record_of(facts)
    now = renewed(read_applied(facts), plan(HELD), run="s", version="1", digest="d")
    assert set(now.items) == {("sysctl", "a")}
