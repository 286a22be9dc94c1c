"""Packages: what the databases say, and what becomes of each manager's words, by the real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.configure.packages import Packages
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import Captured, Facts

DPKG = """\
awk: not-installed\x20
curl:amd64 installed 7.88.1-10+deb12u15
gone:amd64 config-files 1.0-1
libc6:amd64 installed 2.36-9+deb12u14
libc6:i386 half-installed 2.36-9+deb12u14
dpkg-query: no packages found matching nope
"""


def plan(names: list[str], text: str = DPKG, by: str | None = "apt") -> SectionPlan:
    words = frozenset() if by is None else frozenset({f"packages-by {by}"})
    return Packages().plan({"names": names}, Facts({}, {"packages": Captured(text, 1)}, words))


def test_only_what_is_there_and_whole_counts_as_installed() -> None:
    names = ["curl", "libc6", "libc6:amd64", "libc6:i386", "gone", "awk", "nope"]
    found = {item.name: (item.state, item.actual) for item in plan(names).items}
    assert found == {
        "curl": ("ok", "7.88.1-10+deb12u15"),
        "libc6": ("ok", "2.36-9+deb12u14"),
        "libc6:amd64": ("ok", "2.36-9+deb12u14"),
        "libc6:i386": ("change", "not installed"),
        "gone": ("change", "not installed"),
        "awk": ("change", "not installed"),
        "nope": ("change", "not installed"),
    }
    assert plan(["curl", "libc6"]).apply == ""


def test_an_upgrade_is_no_change_of_what_is_observed() -> None:
    (item,) = plan(["curl"]).items
    assert (item.want, item.have) == ({"": "installed"}, {"": "installed"})


def test_all_that_is_missing_is_one_transaction() -> None:
    section = plan(["nope", "curl", "gone"])
    assert section.commands == ("apt-get update", "apt-get install --yes nope gone")
    assert section.apply.count("\ninstall_packages nope gone\n") == 1


def test_a_host_without_a_known_manager_is_refused() -> None:
    (item,) = plan(["curl"], "", None).items
    assert (item.state, item.why) == (
        "refused",
        "labrun knows apt-get, dnf, zypper and apk, and none of them is here",
    )


def test_rpm_s_words_are_read_and_dnf_installs() -> None:
    text = "bash:x86_64 installed 5.1.8-6.el9\npackage tcpdump is not installed\n"
    section = plan(["bash", "tcpdump"], text, "dnf")
    assert [(item.name, item.state, item.actual) for item in section.items] == [
        ("bash", "ok", "5.1.8-6.el9"),
        ("tcpdump", "change", "not installed"),
    ]
    assert section.commands == ("dnf install --assumeyes tcpdump",)


def test_rpm_by_itself_knows_what_is_there_and_installs_nothing() -> None:
    text = "bash:x86_64 installed 5.1.8-6.el9\npackage tcpdump is not installed\n"
    section = plan(["bash", "tcpdump"], text, "rpm")
    assert [(item.name, item.state, item.why) for item in section.items] == [
        ("bash", "ok", None),
        ("tcpdump", "refused", "rpm is here, but neither dnf nor zypper, which install"),
    ]
    assert section.apply == ""


@pytest.mark.parametrize(
    ("by", "commands"),
    [
        ("zypper", ("zypper --non-interactive install tcpdump",)),
        ("apk", ("apk update", "apk add tcpdump")),
    ],
)
def test_zypper_and_apk_install_what_is_missing(by: str, commands: tuple[str, ...]) -> None:
    section = plan(["bash", "tcpdump"], "bash:x86_64 installed 5.2-1\n", by)
    assert section.commands == commands
    assert section.apply.count("\ninstall_packages tcpdump\n") == 1
    assert "package_list" in section.undo


def run(section: SectionPlan, directory: Path, tool: str, says: str) -> tuple[int, list[str]]:
    stand_in = directory / tool
    stand_in.write_text(f"#!/bin/sh\n{says}\n", encoding="ascii")
    stand_in.chmod(0o755)
    script = f"PATH={directory}:$PATH\nset -e\n{section.apply}"
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


NO_NETWORK = """\
case "$*" in *update) echo 'W: Failed to fetch it  no route'; exit 0;; esac
echo 'E: Unable to locate package nope'; echo 'E: Unable to locate package gone'; exit 100"""


@pytest.mark.parametrize(
    ("says", "lines"),
    [
        (
            NO_NETWORK,
            [
                "nope: apt-get finds no such package (apt-get update: Failed to fetch it  no route)",
                "gone: apt-get finds no such package (apt-get update: Failed to fetch it  no route)",
                "apt-get: Unable to locate package nope",
            ],
        ),
        (
            'case "$*" in *update) exit 0;; esac; echo "E: Could not get lock /var/lib/dpkg/lock"; exit 100',
            ["apt-get: Could not get lock /var/lib/dpkg/lock"],
        ),
    ],
    ids=["no network", "locked"],
)
def test_a_failing_apt_get_says_why_for_each_package(tmp_path: Path, says: str, lines: list[str]) -> None:
    assert run(plan(["nope", "gone"]), tmp_path, "apt-get", says) == (1, lines)


def test_apt_get_asks_nobody_and_waits_for_the_lock(tmp_path: Path) -> None:
    says = f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/calls'
    assert run(plan(["nope"]), tmp_path, "apt-get", says) == (0, [])
    update, install = (tmp_path / "calls").read_text(encoding="ascii").splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install nope")
    for word in (
        "noninteractive",
        "--yes",
        "DPkg::Lock::Timeout=60",
        "Dpkg::Options::=--force-confold",
        "--no-remove",
    ):
        assert word in install


def test_a_failing_dnf_says_why(tmp_path: Path) -> None:
    section = plan(["nope", "tcpdump"], "", "dnf")
    says = "echo 'No match for argument: nope'; echo 'Error: Unable to find a match: nope'; exit 1"
    assert run(section, tmp_path, "dnf", says) == (
        1,
        ["nope: dnf finds no such package", "dnf: Unable to find a match: nope"],
    )


ZYPPER = """\
echo "Loading repository data..."; echo "No provider of 'nope' found." >&2; exit 104"""
APK = """\
case $1 in update) echo 'WARNING: updating https://far/main: temporary error' >&2; exit 1;; esac
echo 'ERROR: unable to select packages:' >&2
echo '  nope (no such package):' >&2; echo '    required by: world[nope]' >&2; exit 1"""


@pytest.mark.parametrize(
    ("by", "says", "lines"),
    [
        ("zypper", ZYPPER, ["nope: zypper finds no such package", "zypper: No provider of 'nope' found."]),
        ("zypper", "echo 'System management is locked'; exit 7", ["zypper: System management is locked"]),
        (
            "apk",
            APK,
            [
                "nope: apk finds no such package (apk update: updating https://far/main: temporary error)",
                "apk: unable to select packages:",
            ],
        ),
    ],
)
def test_a_failing_zypper_or_apk_says_why(tmp_path: Path, by: str, says: str, lines: list[str]) -> None:
    assert run(plan(["nope"], "", by), tmp_path, by, says) == (1, lines)


@pytest.mark.parametrize("status", [0, 102, 103, 106])
def test_zypper_s_notices_are_no_failures(tmp_path: Path, status: int) -> None:
    says = f'echo "$ZYPP_LOCK_TIMEOUT $*" >{tmp_path}/calls; exit {status}'
    assert run(plan(["one", "two"], "", "zypper"), tmp_path, "zypper", says) == (0, [])
    called = (tmp_path / "calls").read_text(encoding="ascii")
    assert called == "60 --non-interactive --quiet install --auto-agree-with-licenses -- one two\n"


def undone(by: str, tool: Path, before: str, now: str) -> str:
    """Return what the manager's tool was called with, after its undo with these lists of packages."""
    calls = tool.parent / "calls"
    calls.write_text("")
    tool.write_text(
        f'#!/bin/sh\ncase " $*" in *all* | *info*) printf "{now}";; *) echo "$*" >>{calls};; esac\n'
    )
    tool.chmod(0o755)
    guard = tool.parent / "guard"
    guard.mkdir(exist_ok=True)
    (guard / "listed").write_text(before)
    values = f"on=live guard={guard} live={tool.parent}\n"
    script = f"PATH={tool.parent}:$PATH\n{values}{plan(['nope'], '', by).undo}"
    subprocess.run(["sh"], input=script, text=True, check=True)
    return calls.read_text().strip()


@pytest.mark.parametrize(
    ("by", "tool", "call"), [("dnf", "rpm", "--erase --nodeps"), ("apk", "apk", "del --quiet --no-progress")]
)
def test_the_undo_takes_away_what_is_new_and_nothing_else(
    tmp_path: Path, by: str, tool: str, call: str
) -> None:
    path = tmp_path / tool
    assert undone(by, path, "a\nb\n", r"a\nb\nb-libs\nc\n") == f"{call} b-libs c"
    assert undone(by, path, "a\nb\n", r"a\n") == ""
    assert undone(by, path, "", r"a\nb\n") == "", "a list that could not be made says nothing"
