"""Packages: what dpkg and rpm say, and what becomes of apt-get's and dnf's words, by the real sh."""

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
    assert (item.declared, item.observed) == ("installed", "installed")


def test_all_that_is_missing_is_one_transaction() -> None:
    section = plan(["nope", "curl", "gone"])
    assert section.commands == ("apt-get update", "apt-get install --yes nope gone")
    assert section.apply.count("\ninstall_packages nope gone\n") == 1


def test_a_host_with_neither_manager_is_refused() -> None:
    (item,) = plan(["curl"], "", None).items
    assert (item.state, item.why) == ("refused", "labrun knows apt-get and dnf, and neither is here")


def test_rpm_s_words_are_read_and_dnf_installs() -> None:
    text = "bash:x86_64 installed 5.1.8-6.el9\npackage tcpdump is not installed\n"
    section = plan(["bash", "tcpdump"], text, "dnf")
    assert [(item.name, item.state, item.actual) for item in section.items] == [
        ("bash", "ok", "5.1.8-6.el9"),
        ("tcpdump", "change", "not installed"),
    ]
    assert section.commands == ("dnf install --assumeyes tcpdump",)


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
        ["nope: dnf finds no such package", "dnf: No match for argument: nope"],
    )
