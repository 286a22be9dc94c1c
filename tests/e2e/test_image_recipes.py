"""Labs on the images that `image build` makes in variants: configured, cut off, drifted, restarted.

The first run builds an image where it is missing: a minute or two of a core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from labrun.inventory.recipes import RECIPES
from tests.e2e.conftest import running_lab
from tests.labs import Answer, RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: {name}
hypervisor: lxc:///system
defaults: {{image: chosen}}
images: {{chosen: {{build: "{image}"}}}}
networks:
  left: {{mode: isolated, cidr: {net}.1.0/24, cidr6: "fd00:{number}:1::/64"}}
  right: {{mode: nat, cidr: {net}.2.0/24}}
hosts:
  one:
    networks: {{left: {{ipv4: {net}.1.11, ipv6: "fd00:{number}:1::11"}}}}
    services: {{ssh: {{enabled: true, running: true}}}}
  r: {{role: router, networks: {{left: {net}.1.1, right: {net}.2.5}}}}
  two: {{networks: {{right: dhcp}}}}
"""
# What a change may touch, by commands that every guest has. An address gets its route's metric only when
# systemd-networkd adds it.
STATE = r"""
ip -o address show | sed 's/ *valid_lft.*//; s/ tentative//; s/ dynamic//' |
sed 's/ metric [0-9]*//; s/^[0-9]*: //' | sort
ip route show table all | grep -vE '^(multicast|anycast|broadcast|ff00|fe80)|table local' |
sed 's/ expires [0-9]*sec//; /proto kernel/s/ metric [0-9]*//' | sort
cd /etc; find . -name resolv.conf -prune -o -type f -printf '%p %m %U:%G ' -exec sha256sum {} ';' | sort
find . -type l -printf '%p %l\n' | sort
sshd -T | sort
find / -xdev '(' -name '.labrun-*' -o -name '*labrun-guard*' ')' -not -path '/proc/*' 2>/dev/null
ls -A /var/lib/labrun /run/labrun-guard 2>/dev/null | grep -vE 'rolled-back|applied.json|^files$'
true
"""
DOWN = "files: {/etc/labrun-test: {content: x, on_change: ip link set eth0 down}}"


@dataclass(frozen=True)
class Image:
    """One variant: its recipe, the subnets of its lab, and the file that has the address of `one`."""

    recipe: str
    number: int
    nic_file: str

    @property
    def lab(self) -> str:
        """Return the lab file."""
        return LAB.format(
            name=f"rcp-{self.number}", image=self.recipe, net=f"10.{self.number}", number=self.number
        )


IMAGES = (
    Image("debian-12:networkd", 151, "/etc/systemd/network/05-labrun-left.network"),
    Image("debian-12:netplan", 155, "/etc/netplan/90-labrun-left.yaml"),
    Image("debian-12:ifupdown", 152, "/etc/network/interfaces.d/labrun-left"),
    Image("debian-12:openrc", 153, "/etc/network/interfaces.d/labrun-left"),
    Image("debian-13", 154, "/etc/NetworkManager/system-connections/labrun-left.nmconnection"),
)


@dataclass
class Guests:
    """The running lab of an image."""

    image: Image
    lab: RunningLab

    def with_text(self, *changes: tuple[str, str]) -> RunningLab:
        """Return the same lab with another file."""
        text = self.image.lab
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.lab.path.with_name("other.yaml")
        path.write_text(text, encoding="utf-8")
        return RunningLab(path, self.lab.state)


@pytest.fixture(scope="module", params=IMAGES, ids=[image.recipe for image in IMAGES])
def guests(
    request: pytest.FixtureRequest, hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guests]:
    image: Image = request.param
    for lab in running_lab(tmp_path_factory.mktemp("recipe"), image.lab, "--configure"):
        yield Guests(image, lab)


def states(lab: RunningLab) -> dict[str, str]:
    """Return what a change may touch, of each host."""
    return {host: lab.run("ssh", host, "sudo sh -s", stdin=STATE).stdout for host in ("one", "r", "two")}


def statuses(answer: Answer) -> dict[str, set[str]]:
    """Return the statuses of each host's rows."""
    hosts = sorted({row["host"] for row in answer.rows})
    return {host: {row["status"] for row in answer.rows if row["host"] == host} for host in hosts}


def test_the_lab_is_as_declared_and_a_second_run_changes_nothing(guests: Guests) -> None:
    again = guests.lab.json("up", "--configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.bad()
    for command in ("verify", "drift"):
        answer = guests.lab.json(command)
        assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.bad()
    assert f"{guests.image.number}.1.11" in guests.lab.guest("one", f"cat {guests.image.nic_file}")
    assert RECIPES[guests.image.recipe].stored in guests.lab.run("image", "list").stdout


def test_what_cuts_off_goes_back_by_itself(guests: Guests) -> None:
    net = f"10.{guests.image.number}"
    before = states(guests.lab)
    bad = guests.with_text(
        # No gateway answers there; sshd lets nobody in; a command takes the way in away.
        ("    services: {ssh:", f"    gateway: {net}.1.250\n    services: {{ssh:"),
        ("right: dhcp}", 'right: dhcp}, sshd: {AllowUsers: "lab@192.0.2.1"}'),
        (f"right: {net}.2.5}}}}", f"right: {net}.2.5}}, {DOWN}}}"),
    )
    answer = bad.json("configure", "--confirm-timeout", "20")
    assert answer.exit_code == 1
    assert {host: "rolled-back" in found for host, found in statuses(answer).items()} == {
        "one": True,
        "r": True,
        "two": True,
    }, answer.rows
    assert all(before.values())
    assert states(guests.lab) == before
    verified = guests.lab.json("verify")
    assert verified.exit_code == 0, verified.bad()


def test_what_somebody_changed_is_seen_and_put_right(guests: Guests) -> None:
    net = f"10.{guests.image.number}"
    by_hand = f"ip address add {net}.1.77/24 dev eth0; ip link set dev eth0 mtu 1400"
    by_hand += f"; echo '# x' >>{guests.image.nic_file}"
    guests.lab.guest("r", "ip route del default; echo 0 >/proc/sys/net/ipv4/ip_forward")
    guests.lab.guest("one", by_hand)
    drifted = guests.lab.json("drift")
    assert drifted.exit_code == 3, drifted.rows
    fixed = guests.lab.json("configure")
    assert fixed.exit_code == 0, fixed.bad()
    assert fixed.of("nmcli", "one")[0]["status"] == "changed"
    assert f"{net}.1.77" not in guests.lab.guest("one", "ip address show dev eth0")
    again = guests.lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.bad()


def test_a_restart_brings_all_of_it_back(guests: Guests) -> None:
    assert guests.lab.run("restart").exit_code == 0
    again = guests.lab.json("up")
    assert again.exit_code == 0, again.bad()
    verified = guests.lab.json("verify")
    assert (verified.exit_code, verified.statuses()) == (0, {"ok"}), verified.bad()
    drifted = guests.lab.json("drift")
    assert drifted.exit_code == 0, drifted.bad()
