"""What dpkg and rpm say of packages, and what hosts without either or with noise say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.guest.facts.packages import InstalledPackages, installed_packages, probe
from labrun.tasks.guest.shell import Captured, Facts, gather_script, parse_facts

DPKG = """\
awk: not-installed\x20
gone:amd64 config-files 1.0-1
libc6:amd64 installed 2.36-9+deb12u14
libc6:i386 half-installed 2.36-9+deb12u14
dpkg-query: no packages found matching nope
"""


def read(text: str, by: str) -> InstalledPackages | None:
    return installed_packages(Facts({}, {"packages": Captured(text, 1)}, frozenset({f"packages-by {by}"})))


def test_only_what_is_completely_installed_has_a_version() -> None:
    found = read(DPKG, "apt")
    assert found == InstalledPackages("apt", {"libc6:amd64": "2.36-9+deb12u14"})
    assert found is not None
    versions = {name: found.version(name) for name in ("libc6", "libc6:amd64", "libc6:i386", "gone", "nope")}
    assert versions == {
        "libc6": "2.36-9+deb12u14",
        "libc6:amd64": "2.36-9+deb12u14",
        "libc6:i386": None,
        "gone": None,
        "nope": None,
    }


def test_rpm_is_read_alike() -> None:
    found = read("bash:x86_64 installed 5.1.8-6.el9\npackage tcpdump is not installed\n", "dnf")
    assert found == InstalledPackages("dnf", {"bash:x86_64": "5.1.8-6.el9"})


@pytest.mark.parametrize("by", ["", "pacman"])
def test_a_host_with_another_manager_or_none_has_no_answer(by: str) -> None:
    assert read(DPKG, by) is None
    assert installed_packages(Facts()) is None


def test_the_probe_asks_this_machine_s_dpkg_once(tmp_path: Path) -> None:
    script = gather_script([probe(["dpkg", "no-such-package", "$(touch pwned)"])], "mark")
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True, cwd=tmp_path)
    found = installed_packages(parse_facts(done.stdout, "mark"))
    assert found is not None
    assert (found.manager, bool(found.version("dpkg"))) == ("apt", True)
    assert found.version("no-such-package") is None
    assert list(tmp_path.iterdir()) == []
