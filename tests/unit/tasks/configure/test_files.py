"""Files: read, put in place, checked and put back by the real sh, whatever is in them."""

from __future__ import annotations

import grp
import io
import os
import pwd
import stat
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import FileSpec
from labrun.outcome import Status
from labrun.secrets import Secrets
from labrun.tasks.configure.files import Files, packed
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import gather_script, parse_facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.item import Item
from labrun.tasks.state.verdict import Verdict, verdict
from tests.fuzz import examples
from tests.unit.undoing import keeping, undoing

OWNER, GROUP = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
KEPT = "/var/lib/labrun/files"


def spec(path: Path, content: bytes = b"new\n", **more: Any) -> FileSpec:
    return FileSpec(str(path), content, **{"mode": "0644", "owner": OWNER, "group": GROUP, **more})


class Guest:
    """This machine in place of a guest: what is kept goes to a directory of the test's."""

    def __init__(self, kept: Path):
        self.kept = kept

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        script = script.replace(KEPT, str(self.kept))
        return subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False, timeout=60)

    def plan(self, *files: FileSpec) -> SectionPlan:
        want = {"files": [packed(file) for file in files]}
        done = self.run(gather_script(Files().facts(want), "mark"))
        assert done.stderr == ""
        return Files().plan(want, parse_facts(done.stdout, "mark"))

    def apply(self, section: SectionPlan) -> tuple[int, list[str]]:
        done = self.run(f"set -e\n{section.apply}")
        return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path / "kept")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


def only(section: SectionPlan) -> Item:
    (item,) = section.items
    return item


def test_a_new_file_is_made_and_a_second_plan_is_empty(guest: Guest, place: Path) -> None:
    file = spec(place / "app.d" / "it's new", b"$(id) `id` \\ ' \"\n\n\n", mode="600")
    first = guest.plan(file)
    assert (only(first).state, only(first).actual) == ("change", "absent")
    guest.run(keeping(first, place.parent))
    assert guest.apply(first) == (0, [])
    assert (place / "app.d" / "it's new").read_bytes() == file.content
    assert stat.S_IMODE((place / "app.d" / "it's new").stat().st_mode) == 0o600
    again = guest.plan(file)
    assert (only(again).state, again.apply, again.undo, again.commands) == ("ok", "", "", ())
    guest.run(undoing(first, place.parent))
    assert list((place / "app.d").iterdir()) == []


def test_who_has_moved_is_told_of_content_and_mode_apart(guest: Guest, place: Path) -> None:
    path = place / "x"
    path.write_bytes(b"new\n")
    path.chmod(0o644)
    bare = spec(path, owner=None, group=None)
    applied = fingerprint(only(guest.plan(bare)))
    assert set(applied) == {"content", "mode"}
    path.chmod(0o640)
    found = verdict(only(guest.plan(spec(path, b"newer\n", owner=None, group=None))), applied)
    assert found == Verdict(Status.CONFLICT, {"content": Status.PENDING, "mode": Status.DRIFTED})
    # What the file does not declare is nobody's difference.
    undeclared = spec(path, mode=None, owner=None, group=None)
    assert verdict(only(guest.plan(undeclared)), applied).status is Status.OK
    path.unlink()
    assert verdict(only(guest.plan(bare)), applied).status is Status.DRIFTED
    path.mkdir()
    odd = only(guest.plan(bare))
    assert (odd.state, odd.actual, verdict(odd, applied).status) == ("refused", "", Status.DRIFTED)


def test_the_difference_shows_lines_mode_and_owner(guest: Guest, place: Path) -> None:
    (place / "x").write_text("one\ntwo\n", encoding="ascii")
    (place / "x").chmod(0o664)
    item = only(guest.plan(spec(place / "x", b"one\nthree\n")))
    assert (item.diff or "").splitlines() == [
        f"--- {place}/x",
        f"+++ {place}/x",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+three",
        "- mode: 0664",
        "+ mode: 0644",
    ]
    assert item.actual.endswith(f" 0664 {OWNER}:{GROUP}")


@pytest.mark.parametrize(("before", "after"), [(0o600, "0644"), (0o644, "0400"), (None, "0600")])
def test_what_only_its_owner_may_read_is_shown_nowhere(
    guest: Guest, place: Path, before: int | None, after: str
) -> None:
    if before is not None:
        (place / "x").write_text("old secret\n", encoding="ascii")
        (place / "x").chmod(before)
    item = only(guest.plan(spec(place / "x", b"new secret\n", mode=after)))
    assert "secret" not in f"{item.diff} {item.expected} {item.actual}"
    assert f"+{place}/x: not shown, as only its owner may read it" in (item.diff or "").splitlines()
    assert item.expected.startswith(f"content {after}")


@pytest.mark.parametrize("mode", ["0400", "0440", "0600", "0640", "0660", "0700", "0750", "4710", "0711"])
@pytest.mark.parametrize("before", [None, 0o644, 0o640])
def test_what_not_everybody_may_read_is_a_secret(
    guest: Guest, place: Path, before: int | None, mode: str
) -> None:
    if before is not None:
        (place / "x").write_text("the old one\n", encoding="ascii")
        (place / "x").chmod(before)
    _is_hidden(guest, spec(place / "x", b"the new one\n", mode=mode))


@pytest.mark.parametrize("mode", [None, "0644", "0604"])
@pytest.mark.parametrize("before", [None, 0o644, 0o640])
def test_what_is_declared_secret_is_one_whatever_its_mode(
    guest: Guest, place: Path, before: int | None, mode: str | None
) -> None:
    if before is not None:
        (place / "x").write_text("the old one\n", encoding="ascii")
        (place / "x").chmod(before)
    file = spec(place / "x", b"the new one\n", mode=mode, secret=True)
    _is_hidden(guest, file)
    assert f"+{place}/x: not shown, as it is declared secret" in (only(guest.plan(file)).diff or "")


def test_what_is_private_on_the_host_stays_so_where_no_mode_is_declared(guest: Guest, place: Path) -> None:
    (place / "x").write_text("the old one\n", encoding="ascii")
    (place / "x").chmod(0o640)
    file = spec(place / "x", b"the new one\n", mode=None)
    item = only(guest.plan(file))
    assert "one" not in f"{item.diff} {item.expected} {item.actual}"
    assert guest.plan(file).secrets == ("the new one\n",)


def _is_hidden(guest: Guest, file: FileSpec) -> None:
    item = only(guest.plan(file))
    digest = sha256(file.content).hexdigest()[:8]
    for text in (item.diff, item.expected, item.actual):
        assert "one" not in (text or "").replace("not shown, as not all users may read it", "")
        assert digest not in (text or "")
    lab = load_lab("-", stdin=io.StringIO("name: demo\nhosts: {a: {address: 192.0.2.1}}\n"))
    want = Files().desired(lab, replace(lab.hosts["a"], files=(file,)))
    assert want is not None
    assert want["secrets"] == ["the new one\n"]
    secrets = Secrets.of(want["secrets"])
    assert "the new one" not in "".join(map(secrets.mask, Files().explain(want)))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, b"\0\1", ["+PATH: 2 bytes, binary", "+ mode: 0644", f"+ owner: {OWNER}", f"+ group: {GROUP}"]),
        (b"\xff\n", b"text\n", ["-PATH: different content", "+PATH: 5 bytes, not shown"]),
        (b"x" * 300_000, b"text\n", ["-PATH: different content", "+PATH: 5 bytes, not shown"]),
        (b"text\n", b"\0", ["-PATH: different content", "+PATH: 1 bytes, binary"]),
    ],
)
def test_what_is_no_text_or_too_long_is_not_shown_and_still_put_in_place(
    guest: Guest, place: Path, before: bytes | None, after: bytes, lines: list[str]
) -> None:
    path = place / "x"
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)
    section = guest.plan(spec(path, after))
    assert (only(section).diff or "").replace(str(path), "PATH").splitlines() == lines
    guest.run(keeping(section, place.parent))
    assert guest.apply(section) == (0, [])
    assert path.read_bytes() == after
    assert only(guest.plan(spec(path, after))).state == "ok"
    guest.run(undoing(section, place.parent))
    assert (path.read_bytes() if path.exists() else None) == before


def test_what_is_not_declared_of_a_file_stays(guest: Guest, place: Path) -> None:
    path = place / "x"
    path.write_text("old", encoding="ascii")
    path.chmod(0o4750)
    file = FileSpec(str(path), b"new\n")
    assert guest.apply(guest.plan(file)) == (0, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o4750
    assert only(guest.plan(file)).state == "ok"


def test_links_and_directories_are_not_replaced(guest: Guest, place: Path) -> None:
    (place / "target").write_text("new\n", encoding="ascii")
    (place / "link").symlink_to("target")
    (place / "dir").mkdir()
    section = guest.plan(spec(place / "link"), spec(place / "dir"))
    assert [(item.state, item.why) for item in section.items] == [
        ("refused", "it is a symbolic link: name the file that it points to, or remove it"),
        ("refused", "it is not a regular file but, say, a directory"),
    ]
    assert section.apply == ""


def test_a_candidate_that_does_not_hold_up_changes_nothing_and_keeps_no_other_back(
    guest: Guest, place: Path
) -> None:
    (place / "bad").write_text("old\n", encoding="ascii")
    refusal = "echo; echo %s: line 1 is rubbish; false"
    section = guest.plan(
        spec(place / "bad", validate=refusal, on_change=f"touch {place}/ran"),
        spec(place / "good", validate="grep -q new %s"),
        spec(place / "unowned", owner="nobody-of-this-name"),
    )
    status, said = guest.apply(section)
    assert status == 1
    assert said[0] == f"{place}/bad: validate: {place}/bad: line 1 is rubbish"
    assert said[1].startswith(f"{place}/unowned: chown: invalid user")
    assert sorted(path.name for path in place.iterdir()) == ["bad", "good"]
    assert (place / "bad").read_text(encoding="ascii") == "old\n"


def test_the_same_command_runs_once_after_all_its_files(guest: Guest, place: Path) -> None:
    command = f"cat {place}/a {place}/b >>{place}/log"
    files = [spec(place / name, name.encode(), on_change=command) for name in "ab"]
    assert guest.apply(guest.plan(*files)) == (0, [])
    assert (place / "log").read_text(encoding="ascii") == "ab"
    assert guest.plan(*files).apply == ""


def test_a_command_that_fails_puts_its_files_back_so_that_the_next_run_tries_again(
    guest: Guest, place: Path
) -> None:
    (place / "a").write_text("old\n", encoding="ascii")
    command = "echo the daemon refuses; exit 3"
    files = [spec(place / name, on_change=command) for name in "ab"] + [spec(place / "c")]
    status, said = guest.apply(guest.plan(*files))
    ending = "on_change: the daemon refuses; the file was restored"
    assert (status, said) == (1, [f"{place}/a: {ending}", f"{place}/b: {ending}"])
    assert (place / "a").read_text(encoding="ascii") == "old\n"
    assert sorted(path.name for path in place.iterdir()) == ["a", "c"]
    assert [item.state for item in guest.plan(*files).items] == ["change", "change", "ok"]


def test_the_undo_puts_back_content_and_mode_and_runs_commands_only_where_services_run(
    guest: Guest, place: Path
) -> None:
    (place / "a").write_text("old\n", encoding="ascii")
    (place / "a").chmod(0o600)
    section = guest.plan(spec(place / "a", on_change=f"echo x >>{place}/log"), spec(place / "b"))
    guest.run(keeping(section, place.parent))
    assert guest.apply(section) == (0, [])
    guest.run(undoing(section, place.parent, on="boot"))
    assert (place / "a").read_text(encoding="ascii") == "old\n"
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o600
    assert sorted(path.name for path in place.iterdir()) == ["a", "log"]
    assert (place / "log").read_text(encoding="ascii") == "x\n"
    for _ in range(2):
        # A command that ends whoever undoes must not do so for ever.
        guest.run(undoing(section, place.parent))
        assert (place / "log").read_text(encoding="ascii") == "x\nx\n"


def test_an_undo_before_anything_was_kept_touches_nothing(guest: Guest, place: Path) -> None:
    (place / "a").write_text("old\n", encoding="ascii")
    assert guest.run(undoing(guest.plan(spec(place / "a")), place.parent)).returncode == 0
    assert (place / "a").read_text(encoding="ascii") == "old\n"


def test_the_commands_do_by_hand_what_the_script_does(guest: Guest, place: Path) -> None:
    file = spec(place / "d" / "x", b"it's\n\0", validate="test -s %s", on_change=f"touch {place}/ran")
    lines = Files().explain({"files": [packed(file)]})
    assert guest.run("set -e\n" + "\n".join(lines)).returncode == 0
    assert guest.plan(file).apply == ""
    assert (place / "ran").exists()


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")),
    st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=20),
)
def test_no_content_and_no_name_breaks_out_of_the_script(
    guest: Guest, place: Path, content: bytes, name: str
) -> None:
    if name in (".", ".."):
        return
    file = spec(place / name, content)
    section = guest.plan(file)
    assert guest.apply(section) == (0, [])
    assert (place / name).read_bytes() == content
    assert guest.plan(file).apply == ""
    (place / name).unlink()
    assert list(place.iterdir()) == []
