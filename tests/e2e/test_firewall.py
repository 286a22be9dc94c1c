"""The home server's DMZ on real containers: what gets through, from where, and what keeps it so."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.labs import EXAMPLES, Answer, RunningLab
from tests.shares import of_ci

pytestmark = pytest.mark.lxc

URI = "lxc:///system"
FILE = "/etc/labrun/nftables.nft"
WANTED = "/etc/systemd/system/sysinit.target.wants/labrun-nftables.service"
PEER = "import socket; s = socket.create_server(('', {port})); c, p = s.accept(); c.send(p[0].encode())"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The example on subnets of its own, up, configured, and with a web server on both ports."""
    text = (EXAMPLES / "dmz.yaml").read_text(encoding="utf-8")
    text = text.replace("172.16.", "10.218.").replace("name: home-dmz\n", "name: nft-e2e-dmz\n")
    text = text.replace("hypervisor: auto", f"hypervisor: {URI}")
    made = write_lab(tmp_path_factory.mktemp("dmz"), text)
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        for port in (80, 443):
            made.guest("web", f"systemd-run --quiet python3 -m http.server {port}")
        until = time.monotonic() + 60
        while from_outside("10.218.0.254", 443) != "open":
            assert time.monotonic() < until, "no web server"
        yield made
    finally:
        made.run("-y", "down")


def from_outside(address: str, port: int) -> str:
    """Try a connection from the hypervisor's own address, on the outer segment and no host of the lab."""
    pid = daemon_pid(URI)
    assert pid is not None
    script = f"timeout 1.5 bash -c '</dev/tcp/{address}/{port}' 2>&1"
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "refused" in done.stdout:
        return "refused"
    return "open" if done.returncode == 0 else "filtered"


def assert_settled(lab: RunningLab) -> None:
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def ours(answer: Answer) -> dict[str, tuple[str, str]]:
    """Return status and actual of the rows of the firewall host, by section."""
    return {
        row["section"]: (row["status"], row["actual"])
        for row in answer.rows
        if row["host"] == "fw" and row["section"] in ("firewall", "nat")
    }


def test_a_second_run_changes_nothing_and_verify_finds_what_the_file_says(lab: RunningLab) -> None:
    assert_settled(lab)
    found = lab.json("verify")
    assert (found.exit_code, found.statuses()) == (0, {"ok"}), found.trouble()
    actual = {row["name"]: row["actual"] for row in found.of("check", "visitor")}
    assert actual["page"] == actual["page by TLS"] == "open"
    assert actual["not around the firewall"] == actual["nobody into the house"] == "filtered"


def test_from_outside_only_the_forwarded_ports_and_ssh_answer(lab: RunningLab) -> None:
    seen = {port: from_outside("10.218.0.254", port) for port in (80, 443, 22, 23, 81, 8080)}
    assert seen == {80: "open", 443: "open", 22: "open", 23: "filtered", 81: "filtered", 8080: "filtered"}


def test_verify_names_the_rule_that_drops_and_what_should_have_been_dropped(lab: RunningLab) -> None:
    lab.guest("fw", "nft insert rule inet labrun forward tcp dport 443 counter drop")
    lab.guest("fw", "nft insert rule inet labrun input tcp dport 23 accept")
    found = lab.json("verify", "--hosts", "visitor")
    back = lab.json("configure", "--hosts", "fw")
    assert back.exit_code == 0, back.trouble()
    whys = {row["name"]: (row["status"], row["actual"], row["why"]) for row in found.bad()}
    status, actual, why = whys["visitor -> fw tcp/443"]
    assert (status, actual) == ("failed", "filtered")
    assert why.startswith("fw: nftables drops it: inet labrun, chain forward: tcp dport 443 drop ("), whys
    dropped = "it should be filtered: fw: firewall.input is drop and no rule accepts it"
    assert whys["visitor -> fw tcp/23"] == ("failed", "refused", dropped)
    assert set(whys) == {"visitor -> fw tcp/443", "visitor -> fw tcp/23", "page by TLS"}, whys


@pytest.mark.parametrize(
    ("server", "address", "port", "peer"),
    [("visitor", "10.218.0.66", 8081, "10.218.0.254"), ("web", "10.218.1.80", 8082, None)],
    ids=["out of the house", "between two networks of the house"],
)
def test_addresses_are_hidden_outside_and_only_there(
    lab: RunningLab, server: str, address: str, port: int, peer: str | None
) -> None:
    lab.guest(server, f'systemd-run --quiet python3 -c "{PEER.format(port=port)}"')
    connect = f"for n in 1 2 3 4 5 6 7 8 9; do nc -N {address} {port} </dev/null && break; sleep 1; done"
    own = lab.guest("desk", "hostname -I", sudo=False).split()[0]
    assert lab.guest("desk", connect, sudo=False) == (peer or own)


FIRST = "+forward: ct state established,related accept"
UNIT = WANTED.replace("sysinit.target.wants/", "")
DAMAGE = {
    "other nat": (
        "nft flush chain inet labrun postrouting; nft add rule inet labrun postrouting masquerade",
        {"nat"},
        "-postrouting: masquerade",
    ),
    "one more": (
        "nft insert rule inet labrun input tcp dport 23 accept",
        {"firewall"},
        "-input: tcp dport 23 accept",
    ),
    "flushed": ("nft flush chain inet labrun forward", {"firewall"}, FIRST),
    "deleted": ("nft delete table inet labrun", {"firewall", "nat"}, FIRST),
    "a chain": ("nft add chain inet labrun mine", {"firewall"}, "-mine: chain mine {"),
    "file": (f"echo >{FILE}", {"firewall", "nat"}, f"+{FILE}: written anew"),
    "unit": (f"rm {WANTED}", {"firewall", "nat"}, f"+{UNIT}: loads it at boot"),
}
OFTEN = ("other nat", "one more")


@pytest.mark.parametrize(
    ("damage", "changed", "line"),
    [
        pytest.param(*what, id=name, marks=() if name in OFTEN else pytest.mark.full)
        for name, what in DAMAGE.items()
    ],
)
def test_what_somebody_did_to_the_table_is_noticed_and_put_right(
    lab: RunningLab, damage: str, changed: set[str], line: str
) -> None:
    lab.guest("fw", damage)
    dry = lab.json("configure", "--dry-run", "--hosts", "fw")
    assert dry.exit_code == 3
    assert {section for section, (status, _) in ours(dry).items() if status == "would-change"} == changed
    assert line in "\n".join(row["diff"] or "" for row in dry.rows).splitlines()
    first = lab.json("configure", "--hosts", "fw")
    assert first.exit_code == 0, first.trouble()
    assert {section for section, (status, _) in ours(first).items() if status == "changed"} == changed
    assert_settled(lab)


@pytest.mark.full
def test_the_table_outlives_a_reboot_and_nftables_service(lab: RunningLab) -> None:
    for what in ("start", "restart", "stop"):
        lab.guest("fw", f"systemctl {what} nftables.service")
        assert from_outside("10.218.0.254", 81) == "filtered", what
        assert from_outside("10.218.0.254", 80) == "open", what
    restarted = lab.json("restart", "--hosts", "fw")
    assert restarted.exit_code == 0, restarted.trouble()
    until = time.monotonic() + 180
    while from_outside("10.218.0.254", 80) != "open":
        assert time.monotonic() < until, "not forwarded after a reboot"
    assert from_outside("10.218.0.254", 81) == "filtered"
    dry = lab.json("configure", "--dry-run")
    assert (dry.exit_code, dry.statuses()) == (0, {"ok"}), dry.trouble()


def other(lab: RunningLab, old: str, new: str) -> RunningLab:
    """Return the lab with a line of its file changed."""
    text = lab.path.read_text(encoding="utf-8")
    assert old in text
    path = lab.path.with_name("other.yaml")
    path.write_text(text.replace(old, new), encoding="utf-8")
    return RunningLab(path, lab.state)


FIREWALLD = "/etc/systemd/system/firewalld.service"
# What the two of them leave to be seen, when they are on and when they were stopped as the hint says.
RIVALS = {
    "firewalld": (
        "systemctl disable --now firewalld",
        f"printf '[Service]\\nExecStart=sleep infinity\\n' >{FIREWALLD}; systemctl start firewalld",
        f"systemctl disable --now firewalld; rm {FIREWALLD}; systemctl daemon-reload",
    ),
    "ufw": (
        "ufw disable",
        "mkdir /etc/ufw; echo ENABLED=yes >/etc/ufw/ufw.conf; ln -s /bin/true /usr/sbin/ufw",
        "rm -r /etc/ufw /usr/sbin/ufw",
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("rival", of_ci(RIVALS, ["firewalld"]))
def test_another_firewall_is_not_fought_with(lab: RunningLab, rival: str) -> None:
    hint, start, stop = RIVALS[rival]
    lab.guest("fw", start)
    answer = lab.json("configure", "--hosts", "fw")
    lab.guest("fw", stop)
    assert answer.exit_code == 1
    whys = {row["why"] for row in answer.rows if row["status"] == "failed"}
    assert whys == {
        f"{rival} is active, and two firewalls would conflict: stop it ({hint}), or remove these keys"
    }
    assert_settled(lab)


@pytest.mark.full
def test_a_firewall_that_shuts_labrun_out_is_put_back(lab: RunningLab) -> None:
    before = lab.guest("fw", f"nft -s list table inet labrun; cat {FILE}")
    answer = other(lab, "input: drop ", "ssh: false\n      input: drop ").json("configure", "--hosts", "fw")
    assert answer.exit_code == 1
    assert ours(answer)["firewall"][0] in ("failed", "rolled-back")
    assert lab.guest("fw", f"nft -s list table inet labrun; cat {FILE}") == before
    assert_settled(lab)


@pytest.mark.full
def test_sshd_and_the_firewall_move_to_another_port_together(lab: RunningLab) -> None:
    lab.guest("fw", "nft -s list chain inet labrun input | grep -q 'tcp dport 22 accept'")
    moved = other(lab, "    role: router\n", "    role: router\n    sshd: {Port: [22, 2222]}\n")
    first = moved.json("configure", "--hosts", "fw")
    assert first.exit_code == 0, first.trouble()
    assert from_outside("10.218.0.254", 2222) == "open"
    again = moved.json("configure", "--hosts", "fw")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    back = lab.json("configure")
    assert back.exit_code == 0, back.trouble()
    assert_settled(lab)


def test_what_explain_prints_typed_by_hand_is_all_there_is_to_do(lab: RunningLab) -> None:
    lab.guest("fw", "nft delete table inet labrun; rm -r /etc/labrun /etc/systemd/system/nftables.service.d")
    lines = lab.run("configure", "--explain", "--hosts", "fw", "--only", "firewall,nat").stdout
    typed = lab.run("ssh", "fw", "sudo sh -es", stdin=lines)
    assert typed.exit_code == 0, typed.stderr
    assert_settled(lab)


@pytest.mark.full
def test_without_firewall_and_nat_in_the_file_nothing_of_them_is_left(lab: RunningLab) -> None:
    text = lab.path.read_text(encoding="utf-8")
    path = lab.path.with_name("open.yaml")
    begin, end = text.index("    firewall:"), text.index("  web:")
    path.write_text(text[:begin] + text[end:], encoding="utf-8")
    opened = RunningLab(path, lab.state)
    first = opened.json("configure")
    assert first.exit_code == 0, first.trouble()
    assert {section: status for section, (status, _) in ours(first).items()} == {
        "firewall": "changed",
        "nat": "changed",
    }
    again = opened.json("configure")
    assert (again.exit_code, again.statuses(), ours(again)) == (0, {"ok"}, {}), again.trouble()
    assert (
        lab.guest(
            "fw",
            "nft list tables; ls -d /etc/labrun /etc/systemd/system/*nftables* 2>&1 | grep -v cannot || :",
        )
        == ""
    )
    back = lab.json("configure")
    assert back.exit_code == 0, back.trouble()
    assert_settled(lab)
