"""dnf and zypper for real: on guests with Debian's packages of them, and an rpm repository made there.

Without dpkg-query and apt-get, which are put out of the way, a guest goes by rpm's database.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.tasks.provision.image_store import image_paths
from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: rpm-{manager}
hypervisor: lxc:///system
networks: {{left: {{mode: isolated, cidr: 10.155.{third}.0/24}}}}
hosts:
  one: {{networks: {{left: 10.155.{third}.11}}{more}}}
"""
# `base` stands for what a distribution has: a shell for scriptlets. `shut` closes the way in.
REPOSITORY = r"""
set -eu
mkdir -p /srv/repo /root/rpmbuild
spec() { # NAME VERSION LINES
{ printf 'Name: %s\nVersion: %s\nRelease: 3\nSummary: x\nLicense: MIT\n' "$1" "$2"
printf 'BuildArch: noarch\nAutoReqProv: no\n%s\n' "$3"; } >/root/$1.spec
rpmbuild --quiet -bb --define '_rpmdir /srv/repo' --define '_topdir /root/rpmbuild' /root/$1.spec
}
FILE='%%install
mkdir -p %%{buildroot}/usr/share/NAME; echo here >%%{buildroot}/usr/share/NAME/file
%%files
/usr/share/NAME/file'
named() { printf "$FILE" | sed "s/NAME/$1/g"; }
spec base 1 "Provides: /bin/sh
%description
x
$(named base)"
spec tiny 1.2 "%description
x
$(named tiny)"
spec shut 1 "Requires: base
%description
x
$(named shut)
%post -p /bin/sh
systemctl disable --now ssh"
createrepo_c --quiet /srv/repo
"""
CONFIGURED = {
    "dnf": r"""mkdir -p /etc/yum.repos.d
printf '[own]\nname=own\nbaseurl=file:///srv/repo\ngpgcheck=0\n' >/etc/yum.repos.d/own.repo""",
    "zypper": "zypper --non-interactive addrepo --no-gpgcheck file:///srv/repo own",
}
HIDDEN = "for tool in dpkg-query apt-get; do mv /usr/bin/$tool /usr/bin/$tool.hidden; done"


@dataclass
class Guest:
    """The guest of one manager; its lab file may list packages and more."""

    lab: RunningLab
    manager: str
    third: int

    def with_packages(self, packages: str) -> RunningLab:
        """Return the lab with this list of packages."""
        text = LAB.format(manager=self.manager, third=self.third, more=f", packages: [{packages}]")
        path = self.lab.path.with_name("other.yaml")
        path.write_text(text, encoding="utf-8")
        return RunningLab(path, self.lab.state)


def fetch(manager: str, folder: Path) -> bytes:
    """Return a tar archive of what the image lacks for a manager, and for making a repository."""
    (folder / "archives/partial").mkdir(parents=True)
    status = image_paths("debian-12").rootfs / "var/lib/dpkg/status"
    options = (f"Dir::State::status={status}", f"Dir::Cache={folder}", "APT::Sandbox::User=root")
    words = [word for option in options for word in ("-o", option)]
    command = ["apt-get", "-qq", "install", "--yes", "--download-only", "--no-install-recommends", *words]
    subprocess.run(
        [*command, manager, "rpm", "createrepo-c"],
        check=True, timeout=300, capture_output=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    archive = subprocess.run(
        ["tar", "-C", folder / "archives", "--exclude=partial", "--exclude=lock", "-c", "."],
        check=True, capture_output=True,
    )  # fmt: skip
    return archive.stdout


@pytest.fixture(scope="module", params=["dnf", "zypper"])
def guest(
    request: pytest.FixtureRequest, hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    manager: str = request.param
    third = list(CONFIGURED).index(manager) + 1
    folder = tmp_path_factory.mktemp(manager)
    archive = fetch(manager, folder / "cache")
    for lab in running_lab(folder, LAB.format(manager=manager, third=third, more=""), "--configure"):
        put = lab.arguments("ssh", "one", "mkdir debs; tar -C debs -x")
        subprocess.run(put, env=lab.environment(), input=archive, check=True, timeout=120)
        lab.guest("one", "dpkg --install /home/lab/debs/*.deb >/root/dpkg.log 2>&1")
        script = f"{REPOSITORY}{CONFIGURED[manager]}\n{HIDDEN}\n"
        made = lab.run("ssh", "one", "sudo sh -s", stdin=script)
        assert made.exit_code == 0, made.stderr + made.stdout
        yield Guest(lab, manager, third)


def rows(lab: RunningLab, command: str = "configure") -> tuple[int, dict[str, tuple[str, str, str | None]]]:
    """Return the exit code, and status, actual state and reason of each package."""
    answer = lab.json(command)
    found = {row["name"]: (row["status"], row["actual"], row["why"]) for row in answer.of("packages")}
    return answer.exit_code, found


def test_missing_packages_are_installed_once_and_drift_is_seen(guest: Guest) -> None:
    lab = guest.with_packages("tiny, base")
    assert rows(lab) == (0, {"tiny": ("changed", "1.2-3", None), "base": ("changed", "1-3", None)})
    assert guest.lab.guest("one", "cat /usr/share/tiny/file", sudo=False) == "here\n"
    assert rows(lab) == (0, {"tiny": ("ok", "1.2-3", None), "base": ("ok", "1-3", None)})
    assert rows(lab, "drift")[0] == 0
    guest.lab.guest("one", "rpm --erase tiny")
    code, found = rows(lab, "drift")
    assert (code, found["tiny"][:2]) == (3, ("drifted", "not installed"))
    assert rows(lab)[0] == 0


def test_a_package_that_nobody_has_is_named_and_nothing_is_installed(guest: Guest) -> None:
    guest.lab.guest("one", "! rpm --query tiny || rpm --erase tiny")
    code, found = rows(guest.with_packages("tiny, nowhere"))
    assert code == 1
    assert found["nowhere"] == ("failed", "not installed", f"{guest.manager} finds no such package")
    assert found["tiny"][0] == "failed"
    assert (found["tiny"][2] or "").startswith(f"{guest.manager}: ")
    assert "not installed" in guest.lab.guest("one", "rpm --query tiny || :")


def test_a_package_that_closes_the_way_in_is_taken_back(guest: Guest) -> None:
    assert rows(guest.with_packages("tiny"))[0] == 0
    before = guest.lab.guest("one", "rpm --query --all | sort; systemctl is-enabled ssh")
    code, found = rows(guest.with_packages("tiny, shut"))
    assert (code, found["shut"][0]) == (1, "rolled-back"), found
    assert guest.lab.guest("one", "rpm --query --all | sort; systemctl is-enabled ssh") == before
    assert "tiny-1.2-3" in before
