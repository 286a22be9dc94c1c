"""What dpkg and rpm say of packages, and what hosts without either or with noise say."""

from __future__ import annotations

import shutil
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


APK_DATABASE = """\
C:Q1abc
P:musl
V:1.2.5-r10
A:x86_64
F:lib
R:ld-musl-x86_64.so.1

P:busybox
V:1.37.0-r18
A:x86_64
D:so:libc.musl-x86_64.so.1

"""


def test_apk_s_database_is_read_where_apk_is(tmp_path: Path) -> None:
    """In a root without dpkg and rpm: the tools the probe needs, and a stand-in for apk that is never run."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "awk"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    (tools / "apk").write_text("#!/bin/sh\nexit 9\n")
    (tools / "apk").chmod(0o755)
    database = tmp_path / "installed"
    database.write_text(APK_DATABASE)
    script = gather_script([probe(["busybox", "musl:x86_64", "box"])], "mark")
    script = script.replace("/lib/apk/db/installed", str(database)).replace("$PATH:/usr/sbin:/sbin", "$PATH")
    done = subprocess.run(
        [tools / "sh"], input=script, text=True, capture_output=True, check=True, env={"PATH": str(tools)}
    )
    assert installed_packages(parse_facts(done.stdout, "mark")) == InstalledPackages(
        "apk", {"musl:x86_64": "1.2.5-r10", "busybox:x86_64": "1.37.0-r18"}
    )
