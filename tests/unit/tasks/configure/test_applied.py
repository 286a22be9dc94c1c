"""What the guest remembers of the last configure: written, read back, and kept apart by section."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from labrun.tasks.configure.applied import fingerprint, renewed, write_applied
from labrun.tasks.configure.plan import HostPlan, Item, SectionPlan
from labrun.tasks.guest.facts.applied import PATH, Applied, Fingerprint, read_applied
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts


def plan(*items: Item, section: str = "sysctl") -> HostPlan:
    return HostPlan("one", (SectionPlan(section, items),))


def written(record: Applied, directory: Path) -> Facts:
    """Run the script that writes the record, into another directory, and return what a gather would read."""
    script = write_applied(record).replace(str(Path(PATH).parent), str(directory))
    subprocess.run(["sh", "-e"], input=guest_script("install_file") + script, text=True, check=True)
    return Facts({PATH: (directory / "applied.json").read_text(encoding="utf-8")})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    record = renewed(None, plan(Item("a'b$(x)", "ok", "1", "1")), run="R", version="0.1.0", digest="d")
    facts = written(record, tmp_path)
    assert read_applied(facts) == record
    assert (tmp_path / "applied.json").stat().st_mode & 0o777 == 0o600


def test_only_what_is_as_declared_is_recorded_and_other_sections_stay() -> None:
    before = Applied(
        "old", "0", "x", {("sshd", "port"): Fingerprint("1", "2"), ("sysctl", "gone"): Fingerprint("3", "4")}
    )
    now = renewed(
        before,
        plan(Item("a", "ok", "1", "1"), Item("b", "refused", "1", "0")),
        run="new",
        version="1",
        digest="y",
    )
    assert set(now.items) == {("sshd", "port"), ("sysctl", "a")}
    assert (now.run, now.version, now.digest) == ("new", "1", "y")


def test_what_cannot_be_put_right_is_still_remembered_as_it_was_applied() -> None:
    first = renewed(None, plan(Item("a", "ok", "1", "1")), run="r", version="1", digest="d")
    later = renewed(first, plan(Item("a", "refused", "1", "0")), run="s", version="1", digest="d")
    assert later.items == first.items


def test_a_fingerprint_takes_the_whole_of_both_sides_where_it_is_given() -> None:
    plain = fingerprint(Item("a", "ok", "1", "1"))
    assert plain.declared == plain.observed
    whole = fingerprint(Item("a", "ok", "1", "1", declared="1", observed="1 in /etc/x"))
    assert whole.declared == plain.declared
    assert whole.observed != plain.observed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 2}',
        json.dumps({"schema": 1, "run": "", "labrun": "", "digest": "", "items": {"a": {"b": "x"}}}),
    ],
)
def test_a_file_of_others_is_no_record(text: str) -> None:
    assert read_applied(Facts({PATH: text})) is None
    assert read_applied(Facts()) is None
