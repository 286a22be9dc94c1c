"""A host like Alpine's: OpenRC, doas in place of sudo, busybox's tools in place of GNU's, and no bash.

Only musl is missing. The programs are Debian's, put into a container of the image with OpenRC.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: res-busybox
hypervisor: lxc:///system
defaults: {image: chosen}
images: {chosen: {build: "debian-12:openrc"}}
networks: {left: {mode: isolated, cidr: 10.210.1.0/24, cidr6: "fd00:210:1::/64"}}
hosts:
  r: {role: router, networks: {left: 10.210.1.1}}
  one:
    networks: {left: {ipv4: 10.210.1.11, ipv6: "fd00:210:1::11"}}
    services: {ssh: {enabled: true, running: true}}
    files: {/etc/labrun-test: {content: "a\\n"}}
    sysctl: {net.ipv4.ip_default_ttl: 65}
    # more
"""
PACKAGES = ("opendoas", "busybox")
# Programs that busybox has as well, and that Alpine has from elsewhere or that this image cannot do without.
KEPT = """\
ip mount umount init reboot poweroff halt login su sh ash udhcpc dpkg dpkg-deb ar ifup ifdown hostname passwd
getty sulogin unshare start-stop-daemon run-parts runlevel telinit modprobe insmod lsmod rmmod depmod nc
traceroute traceroute6 sysctl ping ping6 busybox switch_root pivot_root
"""
INSTALL = f"""\
set -e
dpkg --force-all -i /root/opendoas.deb /root/busybox.deb >/dev/null 2>&1
echo 'permit nopass lab' >/etc/doas.conf; chmod 600 /etc/doas.conf
sed -i '/^lab:/s|/bin/bash|/bin/sh|' /etc/passwd
kept=" $(echo {" ".join(KEPT.split())}) "
for name in $(busybox --list); do
case $kept in *" $name "*) continue;; esac
for folder in /usr/bin /usr/sbin; do
[ ! -e $folder/$name ] || ln -sf /bin/busybox $folder/$name
done
done
rm -f /usr/bin/sudo /usr/bin/bash
"""


def packages(folder: Path) -> dict[str, bytes]:
    """Return Debian's packages; skips where no archive can be reached."""
    for name in PACKAGES:
        done = subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"apt-get cannot download {name} here")
    return {name: next(folder.glob(f"{name}_*.deb")).read_bytes() for name in PACKAGES}


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    found = packages(tmp_path_factory.mktemp("packages"))
    for made in running_lab(tmp_path_factory.mktemp("busybox"), LAB, "--configure"):
        for name, content in found.items():
            command = made.arguments("ssh", "one", f"sudo sh -c 'cat >/root/{name}.deb'")
            subprocess.run(command, input=content, env=made.environment(), capture_output=True, check=True)
        answer = made.run("ssh", "one", "sudo sh -s", stdin=INSTALL)
        assert answer.exit_code == 0, answer.stderr
        yield made


def other(lab: RunningLab, *changes: tuple[str, str]) -> RunningLab:
    """Return the lab with another file."""
    text = LAB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = lab.path.with_name("other.yaml")
    path.write_text(text, encoding="utf-8")
    return RunningLab(path, lab.state)


def test_it_really_has_neither_sudo_nor_bash_nor_gnu_tools(lab: RunningLab) -> None:
    said = lab.run("ssh", "one", "sed --help 2>&1; command -v sudo bash; doas -n id -u").stdout
    assert "BusyBox" in said
    assert "/sudo" not in said
    assert said.endswith("\n0\n")


def test_it_is_configured_verified_and_has_not_drifted(lab: RunningLab) -> None:
    for command in ("configure", "verify", "drift"):
        answer = lab.json(command)
        assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.trouble()


def test_changes_are_made_and_taken_back(lab: RunningLab) -> None:
    more = other(lab, ("left: {ipv4: 10.210.1.11", "left: {ipv4: 10.210.1.12"), ('"a\\n"', '"b\\n"'))
    for made in (more, lab):
        first = made.json("configure")
        assert (first.exit_code, first.statuses()) == (0, {"ok", "changed"}), first.trouble()
        again = made.json("configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_a_lock_out_goes_back(lab: RunningLab) -> None:
    bad = other(lab, ("# more", "firewall: {input: drop, ssh: false}"), ("ttl: 65", "ttl: 66"))
    answer = bad.json("configure", "--hosts", "one", "--confirm-timeout", "15")
    assert (answer.exit_code, answer.statuses()) == (1, {"ok", "rolled-back"}), answer.rows
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()


def test_drift_is_seen_and_put_right_and_a_restart_brings_it_back(lab: RunningLab) -> None:
    lab.run("ssh", "one", "doas -n sh -s", stdin="echo 70 >/proc/sys/net/ipv4/ip_default_ttl\n")
    assert lab.json("drift").exit_code == 3
    fixed = lab.json("configure")
    assert fixed.exit_code == 0, fixed.trouble()
    assert lab.run("restart", "--hosts", "one").exit_code == 0
    for command in ("up", "verify", "drift"):
        answer = lab.json(command)
        assert answer.exit_code == 0, answer.trouble()
