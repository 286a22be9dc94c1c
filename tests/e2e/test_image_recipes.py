"""Labs on the images that `image build` makes in variants: configured, cut off, drifted, restarted.

The first run builds an image where it is missing: a minute or two of a core.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff

import pytest

from labrun.inventory.recipes import RECIPES
from labrun.tasks.configure.ifupdown_file import file_text as stanzas
from labrun.tasks.configure.netplan_store import CLOUD_INIT, NetplanFiles
from labrun.tasks.configure.networkd_store import NetworkFiles, Stack, Store
from labrun.tasks.guest.facts.networkd import NetworkdLink
from labrun.tasks.guest.keyfile import Sections
from tests.e2e.conftest import running_lab
from tests.e2e.guests import wait_until
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
    # one
  r:
    role: router
    networks: {{left: {net}.1.1, right: {net}.2.5}}
    # r
  two:
    networks: {{right: dhcp}}
    # two
"""
# What a change may touch, by commands that every guest has. An address gets its route's metric only when
# systemd-networkd adds it.
STATE = r"""
ip -o address show | sed 's/ *valid_lft.*//; s/ tentative//; s/ dynamic//' |
sed 's/ metric [0-9]*//; s/ nodad//; s/^[0-9]*: //' | sort
ip route show table all | grep -vE '^(multicast|anycast|broadcast|ff00|fe80)|table local' |
sed 's/ expires [0-9]*sec//; /proto kernel/s/ metric [0-9]*//' | sort
cd /etc; find . -name resolv.conf -prune -o -type f -printf '%p %m %U:%G ' -exec sha256sum {} ';' | sort
find . -type l -printf '%p %l\n' | sort
sshd -T | sort
find / -xdev '(' -name '.labrun-*' -o -name '*labrun-guard*' ')' -not -path '/proc/*' 2>/dev/null
ls -A /var/lib/labrun /run/labrun-guard 2>/dev/null | grep -vE 'rolled-back|applied.json|^files$'
true
"""
OWN_MAC = "02:00:00:00:99:09"
COMMAND = "files: {{/etc/labrun-test: {{content: x, on_change: {0}}}}}"
# What each host is told, in ways that every family shares; `{net}` is the beginning of the lab's addresses.
CLOSING = {
    # No gateway answers there; a command takes the way in away; sshd lets nobody in.
    "settings": {
        "one": "gateway: {net}.1.250",
        "r": COMMAND.format("ip link set eth0 down"),
        "two": 'sshd: {AllowUsers: "lab@192.0.2.1"}',
    },
    "services": {
        "one": "sshd: {ListenAddress: ip6-localhost}",
        "r": "firewall: {input: drop, ssh: false}",
        "two": COMMAND.format("service ssh stop"),
    },
    "files": {
        "one": COMMAND.format("rm -f /etc/sudoers.d/*"),
        "r": COMMAND.format("'rm -f {nic_file}; ip address flush dev eth0'"),
        "two": "sysctl: {net.ipv4.ip_default_ttl: banana}",
    },
}


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

    def closed(self, closing: str) -> RunningLab:
        """Return the same lab with a file by which nobody would get into its hosts any more."""
        return self.told(CLOSING[closing])

    def told(self, words: Mapping[str, str]) -> RunningLab:
        """Return the same lab with a file that says more of these hosts."""
        text, net = self.image.lab, f"10.{self.image.number}"
        for host, more in words.items():
            line = more.replace("{net}", net).replace("{nic_file}", self.image.nic_file)
            text = text.replace(f"# {host}\n", f"{line}\n")
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


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, list[str]]:
    """Return the lines of each host's state that came or went."""
    sides = {host: (before[host].splitlines(), after[host].splitlines()) for host in before}
    return {
        host: [line for line in unified_diff(*both, n=0, lineterm="") if line[:3] not in ("---", "+++")]
        for host, both in sides.items()
        if both[0] != both[1]
    }


def statuses(answer: Answer) -> dict[str, set[str]]:
    """Return the statuses of each host's rows."""
    hosts = sorted({row["host"] for row in answer.rows})
    return {host: {row["status"] for row in answer.rows if row["host"] == host} for host in hosts}


def test_the_lab_is_as_declared_and_a_second_run_changes_nothing(guests: Guests) -> None:
    again = guests.lab.json("up", "--configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    for command in ("verify", "drift"):
        answer = guests.lab.json(command)
        assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.trouble()
    assert f"{guests.image.number}.1.11" in guests.lab.guest("one", f"cat {guests.image.nic_file}")
    assert RECIPES[guests.image.recipe].stored in guests.lab.run("image", "list").stdout


@pytest.mark.parametrize("closing", CLOSING, ids=CLOSING)
def test_what_cuts_off_goes_back_by_itself(guests: Guests, closing: str) -> None:
    before = states(guests.lab)
    bad = guests.closed(closing)
    answer = bad.json("configure", "--confirm-timeout", "20")
    assert answer.exit_code == 1
    assert {host: "rolled-back" in found for host, found in statuses(answer).items()} == {
        "one": True,
        "r": True,
        "two": True,
    }, answer.rows
    assert all(before.values())
    assert changed(before, states(guests.lab)) == {}
    verified = guests.lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()


def test_a_wide_change_stays_and_the_next_boot_has_it(guests: Guests) -> None:
    more = guests.told(
        {
            "one": "files: {/etc/labrun-test: {content: x}}",
            "r": "firewall: {input: drop, allow: [{proto: icmp}]}",
            "two": "sysctl: {net.ipv4.ip_default_ttl: 61}",
        }
    )
    first = more.json("configure")
    assert (first.exit_code, first.statuses()) == (0, {"ok", "changed"}), first.trouble()
    again = more.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    assert more.run("restart", "--hosts", "r").exit_code == 0
    for command in ("up", "verify", "drift"):
        answer = more.json(command)
        assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.trouble()
    assert "policy drop" in guests.lab.guest("r", "nft list table inet labrun")
    back = guests.lab.json("configure")
    assert back.exit_code == 0, back.trouble()
    verified = guests.lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()


def test_a_power_cut_before_the_confirmation_ends_in_what_was_before(guests: Guests) -> None:
    before = states(guests.lab)
    domain = f"rcp-{guests.image.number}-one"
    changing = guests.closed("settings").start("configure", "--hosts", "one", "--confirm-timeout", "600")
    try:
        wait_until(domain, "[ -e /var/lib/labrun/guard/changed ]")
        for verb in ("destroy", "start"):
            subprocess.run(["virsh", "-q", "-c", "lxc:///system", verb, domain], check=True)
    finally:
        changing.kill()
        changing.wait()
    up = guests.lab.json("up")
    assert up.exit_code == 0, up.trouble()
    wait_until(domain, "[ ! -e /var/lib/labrun/guard ]")
    assert changed(before, states(guests.lab)) == {}
    again = guests.lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_what_somebody_changed_is_seen_and_put_right(guests: Guests) -> None:
    net = f"10.{guests.image.number}"
    by_hand = f"ip address add {net}.1.77/24 dev eth0; ip link set dev eth0 mtu 1400"
    by_hand += f"; echo '# x' >>{guests.image.nic_file}"
    guests.lab.guest("r", "ip route del default; echo 0 >/proc/sys/net/ipv4/ip_forward")
    guests.lab.guest("one", by_hand)
    drifted = guests.lab.json("drift")
    assert drifted.exit_code == 3, drifted.rows
    fixed = guests.lab.json("configure")
    assert fixed.exit_code == 0, fixed.trouble()
    assert fixed.of("nmcli", "one")[0]["status"] == "changed"
    found = guests.lab.guest("one", "ip address show dev eth0")
    assert f"{net}.1.77" not in found
    # The lab file does not name it.
    assert " mtu 1500 " in found
    again = guests.lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_a_subnet_that_moves_is_followed(guests: Guests) -> None:
    """The only way in of `one` was there: what the file says is set without a login."""
    net = f"10.{guests.image.number}"
    path = guests.lab.path.with_name("moved.yaml")
    path.write_text(guests.image.lab.replace(f"{net}.1.", f"{net}.3."), encoding="utf-8")
    for lab, address in ((RunningLab(path, guests.lab.state), f"{net}.3.11"), (guests.lab, f"{net}.1.11")):
        up = lab.json("-y", "up", "--configure")
        assert up.exit_code == 0, up.trouble()
        (ready,) = up.of("ready", "one")
        assert f"ready at {address}" in ready["actual"], ready
        again = lab.json("up", "--configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    verified = guests.lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()


# Below folders of their own: this kernel need not have 802.1Q, and the NICs stay as they are.
READ = {
    # Cloud-init's definition would be merged with labrun's.
    "debian-12:netplan": f"""\
printf 'network:\\n  version: 2\\n  ethernets: {{eth0: {{dhcp4: false}}}}\\n' >/tmp/vlan{CLOUD_INIT}
printf '  vlans: {{vlan9: {{id: 9, link: eth0, addresses: [10.9.9.99/24]}}}}\\n' >>/tmp/vlan{CLOUD_INIT}
{(NetplanFiles().without(CLOUD_INIT, "vlan9") or "").replace("set ", "set --root-dir /tmp/vlan ", 1)}
netplan generate --root-dir /tmp/vlan; cd /tmp/vlan/run/systemd/network
cat *-netplan-vlan9.* *-netplan-05-labrun-trunk.network; ! grep -r 10.9.9.99 .""",
    "debian-12:ifupdown": "ifup --no-act --force --verbose --interfaces=/tmp/vlan/all vlan9 2>&1",
    "debian-12:openrc": "ifup --no-act --force --verbose --interfaces=/tmp/vlan/all vlan9 2>&1",
    # It says in its log what it does not know.
    "debian-12:networkd": """cp /tmp/vlan/etc/systemd/network/* /etc/systemd/network
at=$(date '+%F %T'); networkctl reload; networkctl >/dev/null
rm /etc/systemd/network/05-labrun-vlan9.*; networkctl reload
journalctl -q -u systemd-networkd --since "$at" --no-pager | grep 05-labrun || :
cat /tmp/vlan/etc/systemd/network/*""",
}
SAID = {
    "debian-12:netplan": ("Name=vlan9\n", "Kind=vlan\n", "Id=9\n", f"MACAddress={OWN_MAC}\n", "VLAN=vlan9\n"),
    "debian-12:ifupdown": (
        f"ip link add link eth0 name $IFACE address {OWN_MAC} type vlan id 9",
        "10.9.9.11",
    ),
    "debian-12:networkd": ("Kind=vlan\n", "Id=9\n", "Address=10.9.9.11/24\n"),
}


def test_the_guests_own_tools_understand_the_files_of_a_vlan(guests: Guests) -> None:
    if guests.image.recipe not in READ:
        pytest.skip("NetworkManager's VLANs have tests of their own")
    files = vlan_files(guests.image.recipe)
    folder = "rm -rf /tmp/vlan; mkdir -p /tmp/vlan/etc/netplan /tmp/vlan/etc/systemd/network\n"
    put = "".join(f"cat >/tmp/vlan{path} <<'EOF'\n{text}EOF\n" for path, text in files.items())
    read = READ[guests.image.recipe]
    answer = guests.lab.run("ssh", "one", "sudo sh -es", stdin=f"{folder}{put}{read}\n")
    assert answer.exit_code == 0, answer.stdout + answer.stderr
    for words in SAID[guests.image.recipe.replace("openrc", "ifupdown")]:
        assert words in answer.stdout
    if guests.image.recipe == "debian-12:networkd":
        assert not re.search("unknown|ignor|fail|error", answer.stdout, re.IGNORECASE), answer.stdout


def vlan_files(recipe: str) -> dict[str, str]:
    """Return the files of a NIC and of a VLAN on it, as `configure` writes them."""
    below: Sections = {
        "connection": {"id": "labrun-trunk"},
        "ethernet": {},
        "ipv4": {"method": "disabled"},
        "ipv6": {"method": "link-local"},
    }
    vlan: Sections = {
        "connection": {"id": "labrun-vlan9", "interface-name": "vlan9"},
        "ethernet": {"cloned-mac-address": OWN_MAC, "mtu": "1400"},
        "vlan": {"id": "9"},
        "ipv4": {"method": "manual", "address1": "10.9.9.11/24", "gateway": "10.9.9.1"},
        "ipv6": {"method": "manual", "address1": "fd00:9::11/64"},
    }
    if recipe.endswith(("ifupdown", "openrc")):
        return {"/all": stanzas(vlan, "vlan9", 101, "eth0")}
    store: Store = NetplanFiles() if recipe.endswith("netplan") else NetworkFiles()
    nic = NetworkdLink("eth0", "02:00:00:00:99:01", "configured", "")
    texts = {
        f"{store.prefix}vlan9{store.suffix}": store.text(
            vlan, replace(nic, interface="vlan9"), 101, Stack("trunk")
        )
    }
    if recipe.endswith("netplan"):
        texts[f"{store.prefix}trunk{store.suffix}"] = store.text(below, nic, 100, Stack(above=("vlan9",)))
    return {**texts, **store.companions("vlan9", vlan)}


def test_a_restart_brings_all_of_it_back(guests: Guests) -> None:
    assert guests.lab.run("restart").exit_code == 0
    again = guests.lab.json("up")
    assert again.exit_code == 0, again.trouble()
    verified = guests.lab.json("verify")
    assert (verified.exit_code, verified.statuses()) == (0, {"ok"}), verified.trouble()
    drifted = guests.lab.json("drift")
    assert drifted.exit_code == 0, drifted.trouble()
