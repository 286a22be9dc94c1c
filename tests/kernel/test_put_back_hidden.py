"""What the guard puts back beside addresses: filters, devices elsewhere, files below /run and of a login."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel.test_put_back import HEAD, LOOK, SCENE, shell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")

WIDE = (
    HEAD
    + """\
wide=yes rules=yes
for each in trees outside hidden; do . "$2/$each.sh"; done
mount -t tmpfs none /run
mkdir "$1/home"; printf 'a\\n' >"$1/home/.bashrc"; printf 'p\\n' >"$1/home/.profile"
mkdir -p /run/NetworkManager /run/systemd/system/x.service.d
echo '[Unit]' >/run/systemd/system/x.service.d/a.conf
ln -s /dev/null /run/systemd/system/masked.service
"""
)
GONE = """\
net_state >"$guard/ip"; hidden_state "$1/home"
all() {
look | sort; tc qdisc show | grep -E 'ingress|clsact'; ip xfrm policy; ip netns list
cd /run; find systemd NetworkManager -printf '%p %y %m %l\\n' | sort; cat systemd/system/*/*
find "$1/home" -name '.?*' -printf '%p %y %m %l\\n' -exec cat {} + | sort
}
all "$1" >"$1/before" 2>/dev/null
eval "$3"
all "$1" >"$1/damaged" 2>/dev/null
put_back_hidden; put_back_ip; settle 4; put_back_ip
ip netns del away 2>/dev/null
all "$1" >"$1/after" 2>/dev/null
differences_hidden
"""
DAMAGES = [
    "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir in action block",
    "tc qdisc add dev eth0 ingress",
    "tc qdisc add dev eth1 clsact",
    "ip netns add away; ip link set eth0 netns away",
    "ln -s /dev/null /run/systemd/system/ssh.service",
    "rm -rf /run/systemd/system",
    "rm /run/systemd/system/masked.service; echo x >/run/systemd/system/masked.service",
    "mkdir -p /run/systemd/system.control/x.d; echo x >/run/systemd/system.control/x.d/50.conf",
    "mkdir -p /run/NetworkManager/conf.d; echo '[keyfile]' >/run/NetworkManager/conf.d/x.conf",
    'echo exit 1 >>"$1/home/.bashrc"',
    'echo exit 1 >"$1/home/.bash_profile"',
    'rm "$1/home/.profile"; mkdir "$1/home/.profile"',
    'ln -s /nowhere "$1/home/.zshenv"',
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_nothing_lists_is_as_before_again(tmp_path: Path, damage: str) -> None:
    done = shell(WIDE + SCENE + LOOK + GONE, tmp_path, damage)
    before, damaged, after = ((tmp_path / name).read_text() for name in ("before", "damaged", "after"))
    assert before != damaged, done.stderr
    assert after.splitlines() == before.splitlines()
    assert done.stdout == ""


def test_what_nobody_damaged_is_left_alone(tmp_path: Path) -> None:
    hook = "tc qdisc add dev eth0 clsact\n"
    hook += "ip xfrm policy add src 192.0.2.0/24 dst 192.0.2.0/24 dir out action allow\n"
    done = shell(WIDE + SCENE + hook + LOOK + GONE, tmp_path, "true")
    before = (tmp_path / "before").read_text()
    assert "clsact" in before
    assert "192.0.2.0/24" in before
    assert (done.stdout, (tmp_path / "after").read_text()) == ("", before)


def test_an_sshd_with_other_limits_starts_anew_and_a_frozen_unit_goes_on(tmp_path: Path) -> None:
    stub = """\
systemctl() {
echo "$*" >>"$1/calls.$$"
case $* in *FreezerState*"--value dbus.service") echo frozen;; *FreezerState*) echo running;; esac
case $1 in is-active) [ "$3" = ssh.service ];; esac
}
"""
    stub = stub.replace('"$1/calls.$$"', '"$live/calls"')
    script = (
        WIDE
        + stub
        + """\
command sleep 60 & echo $! >/run/sshd.pid
: >"$guard/ip"; hidden_state "$1/home"
prlimit --pid "$(cat /run/sshd.pid)" --nofile=3
timeout() { shift; "$@"; }
put_back_hidden; put_back_hidden
kill "$(cat /run/sshd.pid)"
"""
    )
    done = shell(script, tmp_path)
    calls = (tmp_path / "live/calls").read_text().splitlines()
    assert done.stderr == ""
    assert [call for call in calls if not call.startswith(("show", "is-active"))] == [
        "thaw dbus.service",
        "restart ssh.service",
        "thaw dbus.service",
    ]
