"""Hostname and /etc/hosts: which address a name gets, and what of the file is labrun's."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.inventory.model import FileSpec, Machine
from labrun.outcome import Status
from labrun.tasks.configure.hostname import Hostname
from labrun.tasks.configure.hosts_file import PATH, Hosts, lab_names
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.text_diff import unified
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.item import Item
from labrun.tasks.state.verdict import verdict
from tests.unit.small_labs import host, lab, network

BEGIN = "# BEGIN labrun: written by labrun configure; changes made here are undone by its next run."
BLOCK = f"{BEGIN}\n10.0.0.1 a\n10.0.0.2 b\n# END labrun\n"
WANT = {"entries": [["10.0.0.1", "a"], ["10.0.0.2", "b"]]}
LOCAL = "127.0.0.1 localhost\n"
MADE = Machine("debian-12", 256, 1, 10)


def test_a_name_gets_the_address_on_the_network_that_both_are_on_else_the_first() -> None:
    small = lab(
        [network("n1", "10.1.0.0/24"), network("n2", "10.2.0.0/24"), network("n3", "10.3.0.0/24")],
        [
            host("gate", {"n1": "10.1.0.254/24", "n2": "10.2.0.254/24 fd00:2::254/64"}, "router"),
            host("one", {"n2": "10.2.0.11/24"}),
            host("far", {"n3": "10.3.0.11/24"}),
            host("unknown", {"n3": "dhcp"}),
            replace(host("box", {}), address="192.0.2.7"),
            replace(host("named", {}), address="box.example"),
        ],
    )
    hosts = small.hosts

    def seen(name: str) -> list[str]:
        return [" ".join([str(address), *names]) for address, names in lab_names(small, hosts[name])]

    assert seen("one") == [
        "10.2.0.254 gate",
        "fd00:2::254 gate",
        "10.2.0.11 one",
        "10.3.0.11 far",
        "192.0.2.7 box",
    ]
    assert seen("far")[0] == "10.1.0.254 gate"
    assert seen("gate")[0] == "10.1.0.254 gate"


def test_a_declared_hostname_is_a_second_name() -> None:
    second = replace(host("two", {"n": "10.0.0.2/24"}), hostname="second")
    small = lab([network("n", "10.0.0.0/24")], [host("one", {"n": "10.0.0.1/24"}), second])
    assert [names for _, names in lab_names(small, small.hosts["one"])] == [("one",), ("two", "second")]


def test_a_fully_qualified_hostname_is_the_first_name() -> None:
    second = replace(host("two", {"n": "10.0.0.2/24"}), hostname="two.example.com")
    small = lab([network("n", "10.0.0.0/24")], [second])
    assert [names for _, names in lab_names(small, second)] == [("two.example.com", "two")]


def test_what_the_file_leaves_alone_is_no_section() -> None:
    plain = host("one", {"n": "10.0.0.1/24"})
    small = lab([network("n", "10.0.0.0/24")], [plain])
    assert Hosts().desired(small, replace(plain, hosts_file=False)) is None
    assert Hostname().desired(small, plain) is None
    own = FileSpec("/etc/hostname", b"other\n")
    assert Hostname().desired(small, replace(plain, machine=MADE, files=(own,))) is None


def test_a_machine_that_labrun_made_has_its_host_s_name_unless_the_file_says_another() -> None:
    plain = host("one", {"n": "10.0.0.1/24"})
    small = lab([network("n", "10.0.0.0/24")], [plain])
    made = replace(plain, machine=MADE)
    assert Hostname().desired(small, made) == {"value": "one", "given": True}
    assert Hostname().desired(small, replace(made, hostname="x")) == {"value": "x"}


def plan(text: str | None) -> SectionPlan:
    return Hosts().plan(WANT, Facts({} if text is None else {PATH: text}))


def only(section: SectionPlan) -> Item:
    (item,) = section.items
    return item


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (LOCAL, LOCAL + BLOCK),
        (None, BLOCK),
        ("127.0.0.1 localhost", LOCAL + BLOCK),
        (f"{LOCAL}{BEGIN}\n10.9.9.9 a\n# END labrun\n10.5.5.5 mine\n", f"{LOCAL}{BLOCK}10.5.5.5 mine\n"),
        (f"{LOCAL}{BEGIN}\n10.9.9.9 a\n\n10.5.5.5 mine\n", f"{LOCAL}{BLOCK}\n10.5.5.5 mine\n"),
        (f"{LOCAL}{BEGIN}\n10.9.9.9 a\n", LOCAL + BLOCK),
        (
            f"{LOCAL}{BEGIN}\r\n10.9.9.9 a\r\n# END labrun\r\n10.5.5.5 mine\r\n",
            f"{LOCAL}{BLOCK}10.5.5.5 mine\r\n",
        ),
        ("10.5.5.5 caf\N{LATIN SMALL LETTER E WITH ACUTE}\n", None),
    ],
    ids=[
        "none yet",
        "no file",
        "no last newline",
        "old block",
        "no end",
        "no end, last",
        "carriage returns",
        "not ascii",
    ],
)
def test_the_block_is_put_in_by_the_real_sh_and_all_around_it_stays(
    text: str | None, after: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "hosts"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    section = plan(text)
    script = section.apply.replace("/etc/", f"{tmp_path}/")
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True)
    expected = after if after is not None else (text or "") + BLOCK
    assert file.read_bytes() == expected.encode("latin-1")
    assert [path.name for path in tmp_path.iterdir()] == ["hosts"]
    again = plan(file.read_text(encoding="latin-1"))
    assert (again.apply, only(again).state) == ("", "ok")


@pytest.mark.parametrize("left", ["file", "link"])
def test_what_an_earlier_run_left_half_written_is_replaced_and_all_may_read_the_file(
    left: str, tmp_path: Path
) -> None:
    file, half, other = tmp_path / "hosts", tmp_path / ".hosts.labrun", tmp_path / "other"
    file.write_text(LOCAL)
    other.write_text("left alone\n")
    if left == "file":
        half.touch(0o600)
    else:
        half.symlink_to(other)
    script = "umask 077\n" + plan(LOCAL).apply.replace("/etc/", f"{tmp_path}/")
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True)
    assert file.read_text() == LOCAL + BLOCK
    assert file.stat().st_mode & 0o777 == 0o644
    assert not half.exists()
    assert other.read_text() == "left alone\n"


def test_the_row_says_how_many_names_there_are_and_shows_the_difference() -> None:
    item = only(plan(LOCAL))
    assert (item.state, item.expected, item.actual) == ("change", "2 lab entries", "no lab entries")
    assert (item.diff or "").splitlines() == [
        f"--- {PATH}",
        f"+++ {PATH}",
        "@@ -1 +1,5 @@",
        " 127.0.0.1 localhost",
        *(f"+{line}" for line in BLOCK.splitlines()),
    ]
    moved = only(plan(LOCAL + BLOCK.replace("10.0.0.2", "10.0.0.3")))
    assert moved.actual == "2 lab entries, not all as in the lab file"
    assert moved.have[""] == BLOCK.replace("10.0.0.2", "10.0.0.3").rstrip()
    assert moved.want[""] == BLOCK.rstrip()


def names(running: str, static: str | None) -> SectionPlan:
    files = {"/proc/sys/kernel/hostname": f"{running}\n"}
    return Hostname().plan(
        {"value": "uno"}, Facts(files | ({} if static is None else {"/etc/hostname": static}))
    )


@pytest.mark.parametrize(
    ("running", "static", "actual", "diff"),
    [
        ("uno", "one\n", "uno (one after a reboot)", ["-one", "+uno"]),
        ("uno", None, "uno (not kept across a reboot)", ["+uno"]),
        ("one", "# by hand\nuno\n", "one (uno after a reboot)", ["-one", "+uno"]),
    ],
)
def test_a_hostname_holds_now_and_after_a_reboot(
    running: str, static: str | None, actual: str, diff: list[str]
) -> None:
    item = only(names(running, static))
    assert (item.state, item.actual, (item.diff or "").splitlines()) == ("change", actual, diff)
    assert only(names("uno", "uno\n")).state == "ok"
    assert names("uno", "uno\n").apply == ""


GIVEN = {"value": "one", "given": True}


def given(running: str, static: str | None) -> SectionPlan:
    files = {"/proc/sys/kernel/hostname": f"{running}\n"}
    return Hostname().plan(GIVEN, Facts(files | ({} if static is None else {"/etc/hostname": static})))


@pytest.mark.parametrize(("running", "static"), [("one", "one\n"), ("ONE", "# mine\none.lab.test\n")])
def test_the_name_that_labrun_gave_a_machine_has_no_row_while_it_holds(running: str, static: str) -> None:
    assert given(running, static) == SectionPlan("hostname")
    assert (Hostname().names(GIVEN), Hostname().explain(GIVEN)) == ((), ())


@pytest.mark.parametrize(
    ("running", "static", "actual", "diff"),
    [
        ("one", "two\n", "one (two after a reboot)", "-two\n+one"),
        ("one", None, "one (not kept across a reboot)", "+one"),
        ("two", "one\n", "two (one after a reboot)", "-two\n+one"),
        ("oneself", "oneself\n", "oneself", "-oneself\n+one"),
    ],
)
def test_another_name_than_labrun_gave_is_a_difference_and_is_put_right(
    running: str, static: str | None, actual: str, diff: str
) -> None:
    section = given(running, static)
    item = only(section)
    assert (item.state, item.expected, item.actual, item.diff) == ("change", "one", actual, diff)
    assert "set_hostname one" in section.apply
    assert section.commands == ("hostnamectl set-hostname one",)


def test_a_unified_diff_tells_a_last_line_without_its_end() -> None:
    assert unified("/x", "a\n", "a\n") == ""
    assert unified("/x", None, "a\n").splitlines()[:2] == ["--- /dev/null", "+++ /x"]
    assert unified("/x", "a", "a\n").splitlines()[3:] == ["-a", "\\ No newline at end of file", "+a"]


KNOWN = {**WANT, "known": {"a": ["10.0.0.1", "fd00::1"], "b": ["10.0.0.2"]}, "own": ["b"]}


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("10.9.9.9 web a\n", "", "line 1 gives a the address 10.9.9.9, not its own: take it out there"),
        ("\n", "fd99::9 x b # old\n", "line 6 gives b the address fd99::9, not its own: take it out there"),
        ("fd00::1 a\n10.0.0.2 b\n", "10.0.0.1 a\n", None),
        ("127.0.1.1 b\n", "10.9.9.9 other\n# 10.9.9.9 a\n", None),
        ("127.0.1.1 a\n", "", "line 1 gives a the address 127.0.1.1, not its own: take it out there"),
        ("one two\n", "fe80::1%eth0 z\n", None),
    ],
)
def test_a_line_beside_the_block_that_names_another_address_is_refused(
    before: str, after: str, why: str | None
) -> None:
    section = Hosts().plan(KNOWN, Facts({PATH: before + BLOCK + after}))
    item = only(section)
    assert (item.state, item.why) == (("ok", None) if why is None else ("refused", why))
    assert section.apply == ""
    assert verdict(item, None, asked=False).status is (Status.OK if why is None else Status.DRIFTED)
    again = only(Hosts().plan(KNOWN, Facts({PATH: before + after})))
    assert (again.state, again.why is None) == ("change", why is None)


def test_names_that_are_not_looked_up_in_the_file_are_refused() -> None:
    def judged(line: str) -> str | None:
        files = {PATH: BLOCK, "/etc/nsswitch.conf": f"passwd: files\n{line}\n"}
        return only(Hosts().plan(KNOWN, Facts(files))).why

    assert judged("hosts: dns # files") == (
        "/etc/nsswitch.conf looks hosts up in dns: without `files`, not in /etc/hosts"
    )
    assert judged("hosts:\tfiles dns") is None
    assert judged("networks: dns") is None
