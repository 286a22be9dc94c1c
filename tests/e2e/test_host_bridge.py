"""A hypervisor's own NIC goes into a bridge while somebody is logged in over it, and never cuts them off.

A container is the hypervisor; the client is the machine it runs on, which is its default gateway as well.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.segment import on_hypervisor
from tests.inside import LABRUN, PYTHON_FITS, put_labrun_into
from tests.labs import RunningLab

pytestmark = [
    pytest.mark.lxc,
    pytest.mark.skipif(
        not PYTHON_FITS, reason="labrun's packages here are for another Python than the guest's"
    ),
]
NAME = "e2e-host-bridge"
TEXT = """\
name: {name}
hypervisor: lxc:///system
networks: {{n: {{mode: nat, cidr: 10.187.{third}.0/24}}}}
hosts: {{box: {{networks: {{n: dhcp}}, memory: 512}}}}
"""
# The NIC's manager in place of the image's, NetworkManager.
NETPLAN = """\
cat >/etc/netplan/01-net.yaml <<'.'
# comments are lost in what labrun writes, and back after the way back
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0: {dhcp4: true, dhcp-identifier: mac}
.
chmod 600 /etc/netplan/*
# netplan has udev look at devices again, which libvirt's containers forbid; but a networkd that may write
# there when it starts waits for a udevd, and no container has one.
cat >/etc/systemd/system/rw-sys.service <<'.'
[Unit]
After=systemd-networkd.service
[Service]
Type=oneshot
ExecStart=mount -o remount,rw /sys
[Install]
WantedBy=multi-user.target
.
systemctl enable -q rw-sys systemd-networkd
systemctl start systemd-networkd
systemctl start rw-sys
ip address flush dev eth0
netplan apply
"""
IFUPDOWN = """\
cat >/etc/network/interfaces <<'.'
auto lo
iface lo inet loopback
source-directory interfaces.d
.
cat >/etc/network/interfaces.d/uplink <<'.'
# the way in
auto eth0
iface eth0 inet dhcp
    up ip route add 203.0.113.0/24 dev eth0
.
ip address flush dev eth0
systemctl restart networking
"""
PACKAGES = {
    "NetworkManager": (),
    "netplan": (
        *("netplan.io", "libnetplan0", "python3-dbus", "python3-rich", "python3-netifaces"),
        *("python3-markdown-it", "python3-mdurl", "python3-pygments", "python3-typing-extensions"),
    ),
    "ifupdown": ("ifupdown", "isc-dhcp-client"),
}
CONFIGURED = {"NetworkManager": "", "netplan": NETPLAN, "ifupdown": IFUPDOWN}
# Everything that a bridge may change, by other commands than labrun's own.
STATE = """\
cd /; grep -rs . etc/netplan etc/network etc/NetworkManager/system-connections run/netplan
find /run/NetworkManager/system-connections /var/lib/labrun/host-bridge 2>/dev/null | sort
ip -brief address show scope global | sed 's/@[^ ]*//; s/ metric [0-9]*//' | tr -s ' '
ip route | sed 's/ metric .*//; s/ *$//' | sort
"""
PHASE = "/run/labrun-host-bridge/br0/phase"
FULL = tuple(pytest.param(each, marks=pytest.mark.full) for each in ("netplan", "ifupdown"))


@dataclass
class Box:
    """The container that is the hypervisor."""

    lab: RunningLab
    domain: str
    manager: str

    def inside(self, script: str) -> str:
        """Run a script as root without the network, and so without a connection that confirms anything."""
        return inside(self.domain, script)

    def wait(self, condition: str, seconds: float = 120.0) -> None:
        wait_until(self.domain, condition, seconds=seconds)

    def wait_for(self, phase: str) -> None:
        self.wait(f"grep -qx {phase} {PHASE}")

    @contextmanager
    def session(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Log in over the NIC and run labrun there; the session says `still here` at its end."""
        line = f"{shlex.join(['sudo', LABRUN, '--json', 'host-bridge', *words])}; echo still here"
        command = self.lab.arguments("ssh", "box", line)
        with subprocess.Popen(
            command,
            env=self.lab.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def answer(self, session: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for the end of a session that has survived, and return labrun's document."""
        output, _ = session.communicate(timeout=180)
        assert output.endswith("still here\n"), output
        document: dict[str, Any] = json.loads(output.removesuffix("still here\n"))
        return document

    def labrun(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run labrun out of band and return its document; it sees no ssh session of its own."""
        line = shlex.join([LABRUN, "--json", *words])
        document: dict[str, Any] = json.loads(self.inside(f"{line} 2>/dev/null"))
        assert document["exit_code"] == code, document
        return document

    def log_in(self) -> str:
        """Log in anew, as a person would."""
        return self.lab.guest("box", "ip -brief address", sudo=False)

    def at(self, address: str, line: str, *, survives: bool = True) -> str:
        """Log in at an address, and run a command; returns its output. The session may not survive it."""
        (key,) = self.lab.state.glob("*/id_ed25519")
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10"]
        options += ["ServerAliveInterval=3", "ServerAliveCountMax=2"]
        words = [word for option in options for word in ("-o", option)]
        words += [f"lab@{address}", line]
        return on_hypervisor("ssh", "-n", "-F", "none", "-i", str(key), *words, check=survives)

    def changed(self, *words: str, unseen: bool = False) -> dict[str, Any]:
        """Run a change in a session, log in a second time once it waits for that, and return the document.

        With ``unseen`` the guard stands still during the login: it is over when the guard looks again.
        """
        self.inside(f"rm -f {PHASE}")
        with self.session(*words) as session:
            self.wait_for("waiting")
            if unseen:
                self.inside("pkill -STOP -f 'guard[.]sh'")
            self.log_in()
            if unseen:
                self.inside("pkill -CONT -f 'guard[.]sh'")
            return self.answer(session)


def packages(manager: str, folder: Path) -> list[Path]:
    """Fetch the packages of a manager, which guests without a way out cannot."""
    if PACKAGES[manager]:
        folder.mkdir()
        folder.chmod(0o777)  # apt fetches as a user of its own
        subprocess.run(
            ["apt-get", "-qq", "download", *PACKAGES[manager]],
            cwd=folder, check=True, timeout=120, capture_output=True,
        )  # fmt: skip
    return sorted(folder.glob("*.deb"))


@contextmanager
def box_with(manager: str, folder: Path) -> Iterator[Box]:
    third = list(PACKAGES).index(manager)
    name = f"{NAME}-{third}"
    lab = write_lab(folder, TEXT.format(name=name, third=third))
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        put_labrun_into(lab, "box")
        box = Box(lab, f"{name}-box", manager)
        for package in packages(manager, folder / "debs"):
            put = lab.arguments("ssh", "box", f"cat >{package.name}")
            subprocess.run(put, env=lab.environment(), input=package.read_bytes(), check=True, timeout=60)
        if manager != "NetworkManager":
            box.inside("cd /home/lab && dpkg -i *.deb >/var/log/packages.log 2>&1")
            box.inside("rm -f /etc/NetworkManager/system-connections/*; systemctl mask --now NetworkManager")
            box.inside("rm -rf /run/NetworkManager")
            box.inside(f"exec >/var/log/configured.log 2>&1\n{CONFIGURED[manager]}")
            box.wait("ip -4 route show default | grep -q eth0")
        yield box
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="module")
def boxes(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Box]]:
    """Boxes by manager, made when they are asked for."""
    made: dict[str, Any] = {}
    yield made
    for _box, context in made.values():
        context.__exit__(None, None, None)


@pytest.fixture(params=["NetworkManager", *FULL])
def box(
    request: pytest.FixtureRequest, boxes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Box:
    if request.param not in boxes:
        context = box_with(request.param, tmp_path_factory.mktemp(request.param) / "lab")
        boxes[request.param] = (context.__enter__(), context)
    found: Box = boxes[request.param][0]
    # Whatever a failed test has left.
    found.wait("! pgrep -f [/]run/labrun-host-bridge >/dev/null")
    return found


def row(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = document["results"]
    assert (found["host"], found["section"], found["name"]) == ("hypervisor", "host-bridge", "br0")
    return dict(found)


def test_the_nic_moves_into_a_bridge_and_back_under_the_session_over_it(box: Box) -> None:
    before = box.inside(STATE)
    address = box.inside("ip -brief -4 address show eth0 | awk '{print $3}'").strip()
    mac = box.inside("cat /sys/class/net/eth0/address").strip()

    made = box.changed("create", "br0", "--dev", "eth0", "--within", "40", unseen=True)
    assert (row(made)["status"], made["exit_code"]) == ("changed", 0), row(made)
    assert row(made)["why"] == f"confirmed: a new ssh connection from 10.187.{box.domain[-5]}.1"
    assert row(made)["actual"] == address
    assert box.inside("cat /sys/class/net/br0/address").strip() == mac
    assert box.inside("basename $(readlink /sys/class/net/eth0/master)").strip() == "br0"
    assert "dev br0" in box.inside("ip -4 route show default")
    assert "eth0 " not in box.inside("ip -brief address show scope global")
    if box.manager == "ifupdown":
        assert "dev br0" in box.inside("ip route show 203.0.113.0/24")
    (shown,) = box.labrun("host-bridge", "show")["bridges"]
    assert shown == {
        "name": "br0",
        "dev": "eth0",
        "addresses": [address],
        "mac": mac,
        "manager": box.manager,
        "made_by_labrun": True,
        "state": "confirmed",
    }

    state = box.inside(STATE)
    assert "labrun/host-bridge/br0.json" in state
    with box.session("create", "br0", "--dev", "eth0") as session:
        again = box.answer(session)
    assert (row(again)["status"], again["exit_code"]) == ("ok", 0)
    assert box.inside(STATE) == state
    assert row(box.labrun("host-bridge", "confirm", "br0"))["status"] == "ok"

    gone = box.changed("remove", "br0")
    assert (row(gone)["status"], gone["exit_code"]) == ("changed", 0), row(gone)
    assert row(gone)["actual"] == address
    assert box.inside(STATE) == before
    assert row(box.labrun("host-bridge", "remove", "br0"))["status"] == "ok"
    assert box.labrun("host-bridge", "show")["bridges"] == []


def test_a_wrong_address_is_taken_back_whatever_becomes_of_labrun_and_the_session(box: Box) -> None:
    """The session and labrun are killed; the guard itself as well, where systemd starts it anew."""
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    words = ("create", "br0", "--dev", "eth0", "--address", "10.99.9.9/24", "--within", "10")
    with box.session(*words) as session:
        # Without a gateway in the subnet nothing answers that answered before.
        box.wait("ip address show br0 2>/dev/null | grep -qF 10.99.9.9/24")
        box.inside("pkill -KILL -f '[l]abrun --json host'; pkill -KILL sshd; pkill -KILL -f 'guard[.]sh'")
        session.kill()
    box.wait_for("taken-back")
    assert "the guard was interrupted" in box.inside(f"cat {PHASE}")
    assert box.inside(STATE) == before
    box.inside("systemctl restart ssh")
    assert "eth0" in box.log_in()


@pytest.mark.full
def test_nobody_comes_again_and_it_is_taken_back(box: Box) -> None:
    """The gateway answers, but nobody logs in a second time; the old session says nothing."""
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    with box.session("create", "br0", "--dev", "eth0", "--within", "15") as session:
        box.wait_for("waiting")
        answer = box.answer(session)
    assert (row(answer)["status"], answer["exit_code"]) == ("rolled-back", 1)
    assert row(answer)["why"] == "no new connection confirmed it in 15 s"
    assert box.inside(STATE) == before
    late = box.labrun("host-bridge", "confirm", "br0", code=1)
    assert late["error"] == "the change of br0 was rolled back: no new connection confirmed it in 15 s"


@pytest.mark.full
def test_the_session_that_was_there_before_confirms_nothing(box: Box) -> None:
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    create = f"sudo {LABRUN} --json host-bridge create br0 --dev eth0 --within 20 >/dev/null 2>&1 &"
    line = f"{create} until sudo grep -qx waiting {PHASE}; do sleep 0.2; done; "
    line += f"sudo {LABRUN} --json host-bridge confirm br0; sudo {LABRUN} host-bridge show; wait"
    answer = box.lab.run("ssh", "box", line)
    document, _, shown = answer.stdout.partition("\n}\n")
    said = json.loads(document + "}")
    assert said["exit_code"] == 1
    assert said["error"] == "this session's connection is older than the change, and proves nothing"
    assert said["hint"] == "log in once more: ssh -o ControlPath=none"
    assert "unconfirmed" in shown
    box.wait_for("taken-back")
    assert box.inside(STATE) == before


@pytest.mark.full
def test_a_bridge_that_frames_do_not_leave_is_taken_back_at_once(box: Box) -> None:
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    # Nothing that goes through a bridge comes in or out; the NIC alone is not touched.
    box.inside(
        "nft 'table bridge cut { chain i { type filter hook input priority 0; drop; }; "
        "chain o { type filter hook output priority 0; drop; }; }'"
    )
    try:
        with box.session(
            "create", "br0", "--dev", "eth0", "--within", "600", "--address", "10.187.9.9/16"
        ) as session:
            answer = box.answer(session)
    finally:
        box.inside("nft delete table bridge cut")
    assert (row(answer)["status"], answer["exit_code"]) == ("rolled-back", 1)
    assert row(answer)["why"] == "the default gateway answered before, and does not on br0"
    assert answer["seconds"] < 120
    assert box.inside(STATE) == before


@pytest.mark.full
def test_a_reboot_before_the_confirmation_has_the_old_network(box: Box) -> None:
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    with box.session("create", "br0", "--dev", "eth0", "--within", "600"):
        box.wait_for("waiting")
        assert box.labrun("host-bridge", "show", code=3)["results"][0]["status"] == "pending"
        refused = box.labrun("host-bridge", "create", "br1", "--dev", "eth0", code=5)
        assert refused["error"].startswith("a change of br0 is not confirmed yet (")
        box.lab.json("restart")
    box.wait("ip -4 route show default | grep -q eth0")
    box.wait("systemctl is-active -q ssh")
    assert box.inside(STATE) == before
    assert box.labrun("host-bridge", "show")["bridges"] == []


@pytest.mark.full
def test_a_bridge_that_was_confirmed_is_there_after_a_reboot(box: Box) -> None:
    before = box.inside(STATE)
    box.changed("create", "br0", "--dev", "eth0")
    state = box.inside(STATE)
    box.lab.json("restart")
    box.wait("ip -4 route show default | grep -q br0")
    assert box.inside(STATE) == state
    box.changed("remove", "br0")
    assert box.inside(STATE) == before


@pytest.mark.full
def test_another_address_is_confirmed_by_who_comes_to_it(box: Box) -> None:
    """The session is lost with the address, and labrun in it; the guard waits all the same."""
    before = box.inside(STATE)
    box.inside(f"rm -f {PHASE}")
    address = f"10.187.{box.domain[-5]}.7"
    with box.session("create", "br0", "--dev", "eth0", "--address", f"{address}/24"):
        box.wait_for("waiting")
        assert f"br0 UP {address}/24" in box.inside(STATE)
        said = json.loads(box.at(address, f"sudo {LABRUN} --json host-bridge confirm br0"))
    assert row(said)["status"] in ("changed", "ok")
    assert row(said)["why"].startswith("confirmed: ")
    assert f"default via 10.187.{box.domain[-5]}.1 dev br0" in box.inside("ip route")
    box.inside(f"rm -f {PHASE}")
    box.at(address, f"sudo nohup {LABRUN} host-bridge remove br0 >/dev/null 2>&1 & sleep 1", survives=False)
    box.wait_for("waiting")
    box.log_in()
    box.wait_for("kept")
    assert box.inside(STATE) == before


@pytest.mark.full
def test_ctrl_c_in_the_middle_of_a_change_puts_everything_back(box: Box) -> None:
    before = box.inside(STATE)
    for words, phase in (
        (("--within", "600"), "waiting"),
        (("--address", "10.187.9.9/16"), "changing|checking"),
    ):
        box.inside(f"rm -f {PHASE}")
        with box.session("create", "br0", "--dev", "eth0", *words) as session:
            box.wait(f"grep -qxE '{phase}' {PHASE}")
            # Twice, as sudo passes on the one that it gets itself.
            box.inside(
                "pkill -INT -f '[l]abrun --json host'; sleep 0.1; pkill -INT -f '[l]abrun --json host'; :"
            )
            answer = box.answer(session)
        assert (row(answer)["status"], answer["exit_code"]) == ("rolled-back", 1), answer
        assert row(answer)["why"] == "it was interrupted"
        assert box.inside(STATE) == before


@pytest.mark.full
def test_a_bridge_with_guests_on_it_stays_and_what_is_refused_changes_nothing(box: Box) -> None:
    before = box.inside(STATE)
    box.changed("create", "br0", "--dev", "eth0")
    box.inside("ip link add guest0 type veth peer name guest1; ip link set guest0 master br0")
    state = box.inside(STATE)
    try:
        for words, error in (
            (("remove", "br0"), "guest0 is on br0: guests would be cut off"),
            (("create", "br1", "--dev", "eth0"), "eth0 is a port of br0 already"),
            (("create", "br0", "--dev", "guest1"), "br0 already exists, with eth0 as its port"),
        ):
            assert box.labrun("host-bridge", *words, code=5)["error"] == error
            assert box.inside(STATE) == state
    finally:
        box.inside("ip link delete guest0")
        box.changed("remove", "br0")
    assert box.inside(STATE) == before
