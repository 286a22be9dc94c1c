"""`labrun host-bridge` refuses what it cannot do safely: on real devices, in a namespace."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from labrun.errors import HostBridgeError
from labrun.tasks.host_bridge.machine import require_fit
from labrun.tasks.host_bridge.model import Device
from tests import places
from tests.unit.command_line import run_labrun

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
DEVICES = """\
ip link add nic0 type veth peer name other0
ip link add used type bridge && ip link add member type veth peer name far && ip link set member master used
ip address add 198.51.100.1/24 dev used
unshare -n sleep 50 & neighbour=$!
until [ "$(readlink /proc/$neighbour/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link set other0 address 02:00:00:00:00:77 netns $neighbour
nsenter -t $neighbour -n sh -c 'ip address add 192.0.2.7/24 dev other0; ip link set other0 up
ip address add fd00:9::7/64 nodad dev other0'
trap 'kill $neighbour' EXIT
ip link set nic0 up
ip link add low type veth peer name far2 && ip link add link low name tap5 type macvtap
"""


def in_namespace(*words: str) -> subprocess.CompletedProcess[str]:
    line = shlex.join([sys.executable, "-m", "labrun", "host-bridge", *words])
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", f"{DEVICES}{line}"],
        cwd=places.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@needs_root
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("br0", "--dev", "member"),
            5,
            "error: member is a port of used already\nhint: use used, or remove it first\n",
        ),
        (
            ("used", "--dev", "nic0"),
            5,
            (
                "error: used already exists, and labrun did not create it: it is a bridge\n"
                "hint: take another name, or use that bridge: networks.N: {mode: bridge, bridge: used}\n"
            ),
        ),
        (
            ("br0", "--dev", "used"),
            5,
            (
                "error: used is a bridge, not a NIC\n"
                "hint: use it as it is: networks.N: {mode: bridge, bridge: used}\n"
            ),
        ),
        (
            ("br0", "--dev", "nic0", "--address", "192.0.2.7/24"),
            5,
            (
                "error: 192.0.2.7 is taken: 02:00:00:00:00:77 answers for it on nic0\n"
                "hint: give the bridge another address\n"
            ),
        ),
        (
            ("br0", "--dev", "nic0", "--address", "10.5.5.5/24", "--address", "fd00:9::7/64"),
            5,
            (
                "error: fd00:9::7 is taken: 02:00:00:00:00:77 answers for it on nic0\n"
                "hint: give the bridge another address\n"
            ),
        ),
        (
            ("br0", "--dev", "nic0", "--address", "198.51.100.1/24"),
            5,
            (
                "error: 198.51.100.1 is the address of used on this machine already\n"
                "hint: give the bridge another one, or take it from used first\n"
            ),
        ),
        (("br0", "--dev", "lo"), 5, "error: lo is the loopback device\nhint: name a NIC\n"),
        (
            ("br0", "--dev", "low"),
            5,
            (
                "error: tap5 is stacked on low\n"
                "hint: what is stacked on a NIC in a bridge gets no frames: remove tap5 first\n"
            ),
        ),
        (
            ("br0", "--dev", "nic0"),
            5,
            (
                "error: nothing that labrun knows configures nic0: neither NetworkManager, netplan nor "
                "ifupdown\n"
                "hint: let one of them do so, for instance: nmcli device set nic0 managed yes\n"
            ),
        ),
    ],
)
def test_a_nic_that_cannot_be_moved_is_refused(words: tuple[str, ...], code: int, message: str) -> None:
    done = in_namespace("create", *words)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", message)


@needs_root
def test_an_unknown_device_is_a_usage_error_that_names_those_there_are() -> None:
    done = in_namespace("create", "br0", "--dev", "enp9s0")
    assert done.returncode == 2
    first, hint = done.stderr.splitlines()
    assert first == "error: this machine has no device enp9s0"
    assert {"far", "far2", "nic0"} <= set(hint.removeprefix("hint: its NICs: ").split(", "))
    assert not {"lo", "member", "used", "low"} & set(hint.removeprefix("hint: its NICs: ").split(", "))


@needs_root
def test_remove_leaves_bridges_of_others_alone_and_has_nothing_to_do_without_one() -> None:
    done = in_namespace("remove", "used")
    assert (done.returncode, done.stderr) == (
        5,
        (
            "error: used was not made by `labrun host-bridge`, and is left alone\n"
            "hint: labrun host-bridge show lists those that were\n"
        ),
    )
    assert in_namespace("remove", "br7").returncode == 0
    assert in_namespace("show").stdout == "no bridge has a NIC of this machine\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("create", "br/0", "--dev", "eth0"),
            (
                'error: "br/0" cannot be the name of a bridge\n'
                "hint: 1 to 15 letters, digits, dots, - and _, the first a letter: br0\n"
            ),
        ),
        (
            ("create", "br0", "--dev", "eth0", "--address", "10.0.0.5"),
            'error: "10.0.0.5" is not an address with a prefix length\nhint: --address 192.168.1.5/24\n',
        ),
        (
            ("create", "br0", "--dev", "eth0", "--address", "10.0.0.0/24"),
            (
                "error: --address: 10.0.0.0 is the address of the subnet 10.0.0.0/24 itself\n"
                "hint: --address 192.168.1.5/24\n"
            ),
        ),
        (
            ("create", "br0", "--dev", "eth0", "--address", "10.0.0.255/24"),
            (
                "error: --address: 10.0.0.255 is the broadcast address of 10.0.0.0/24\n"
                "hint: --address 192.168.1.5/24\n"
            ),
        ),
        (
            ("create", "br0", "--dev", "eth0", "--address", "127.0.0.5/8"),
            (
                "error: --address: 127.0.0.5 cannot be reached from other machines\n"
                "hint: --address 192.168.1.5/24\n"
            ),
        ),
        (
            ("create", "br0", "--dev", "eth0", "--gateway", "10.0.0.1"),
            "error: --gateway goes with --address\nhint: without them the NIC's own settings move over\n",
        ),
        (
            ("create", "br0"),
            "error: Missing option '--dev'\nhint: labrun host-bridge create --help shows its usage\n",
        ),
    ],
)
def test_a_command_line_that_cannot_be_run(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run_labrun("host-bridge", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, message)


@needs_root
def test_only_root_changes_the_network(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "labrun", "host-bridge", "create", "br0", "--dev", "eth0"]
    user = ["setpriv", "--reuid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*user, *line], cwd=places.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (
        5,
        "error: changing this machine's network needs root\nhint: run it with sudo\n",
    )


@pytest.mark.parametrize("kind", ["bond", "team", "vlan", "tun"])
def test_what_is_no_nic_is_refused_with_what_to_do_instead(kind: str) -> None:
    """Not every kernel that tests run on makes them: what `ip -d` says of one is given."""
    with pytest.raises(HostBridgeError) as caught:
        require_fit("dev0", "br0", {"dev0": Device("dev0", kind=kind)})
    hint = "make a bridge of dev0 with what configures it, and use that: "
    hint += "networks.N: {mode: bridge, bridge: BRIDGE}"
    assert (caught.value.exit_code, str(caught.value)) == (
        5,
        f"dev0 is a {kind}, not a NIC ({'name a wired NIC' if kind == 'tun' else hint})",
    )


def test_a_port_of_a_bond_is_refused() -> None:
    found = {"eth0": Device("eth0", master="bond0")}
    with pytest.raises(HostBridgeError, match=r"^eth0 is a port of bond0 already"):
        require_fit("eth0", "br0", found)


def test_a_wireless_nic_is_refused() -> None:
    """No wireless device can be made here: what /sys says of one is given."""
    found = {"wlan0": Device("wlan0", wireless=True)}
    with pytest.raises(HostBridgeError) as caught:
        require_fit("wlan0", "br0", found)
    assert (caught.value.exit_code, str(caught.value)) == (
        5,
        (
            "wlan0 is wireless: an access point accepts frames of one MAC address only"
            " (use a wired NIC, or a network with mode: nat)"
        ),
    )
