"""sshd's port of a machine that labrun made: the way in moves with the lab file, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.labs import RunningLab

Make = Callable[[str], RunningLab]
LAB = """\
name: e2e-port
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks:
  net: {{cidr: 10.143.2.0/24}}
hosts:
  one: {{networks: {{net: 10.143.2.11}}, firewall: {{input: drop}}, sshd: {sshd}}}
  two: {{networks: {{net: 10.143.2.12}}}}
"""


def write(lab: RunningLab, sshd: str) -> None:
    lab.path.write_text(LAB.format(sshd=sshd), encoding="utf-8")


def ports_in_use(lab: RunningLab) -> set[str]:
    listed = lab.guest("one", "ss -Htln 'sport = :22 or sport = :2222 or sport = :2300'")
    return {line.split()[3].rpartition(":")[2] for line in listed.splitlines()}


def test_labrun_follows_the_port(make_lab: Make) -> None:
    lab = make_lab(LAB.format(sshd="{Port: 2222}"))
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    first = lab.json("configure")
    assert first.exit_code == 0, first.trouble()
    assert ports_in_use(lab) == {"2222"}
    assert lab.json("configure").statuses() == {"ok"}
    for verb in ("verify", "drift", "status"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()
    assert "Port 2222\n" in lab.run("inventory", "--format", "ssh-config", "--hosts", "one").stdout
    assert lab.run("ssh", "one", "hostname").stdout == "one\n"
    assert lab.json("restart", "--hosts", "one").exit_code == 0
    # `status` does not wait until a machine has booted.
    assert lab.json("up").exit_code == 0
    status = lab.json("status")
    assert status.exit_code == 0, status.bad() or status.rows

    # Something else has the next port: the host goes back to the old one, and is found there.
    lab.guest("one", "systemd-run --quiet --unit hold nc -lk 2300")
    write(lab, "{Port: 2300}")
    back = lab.json("configure", "--confirm-timeout", "15")
    assert (back.exit_code, back.of("sshd", "one", "port")[0]["status"]) == (1, "rolled-back"), back.rows
    assert ports_in_use(lab) >= {"2222"}
    lab.guest("one", "systemctl stop hold")
    moved = lab.json("configure")
    assert moved.exit_code == 0, moved.trouble()
    assert ports_in_use(lab) == {"2300"}

    # Without the key it is 22 again; the old port is known from the record only.
    write(lab, "{}")
    assert lab.json("configure").exit_code == 0
    assert ports_in_use(lab) == {"22"}
    assert lab.json("configure").statuses() == {"ok"}


@pytest.mark.full
def test_which_port_is_the_way_in(make_lab: Make) -> None:
    lab = make_lab(LAB.format(sshd="{Port: 2300}"))
    up = lab.json("up", "--configure")
    assert up.exit_code == 0, up.trouble()
    # `ssh: {port}` alone says the same, and which of several ports is the way in.
    for other, ports in (
        ("{}, ssh: {port: 2222}", {"2222"}),
        ("{Port: [22, 2300]}, ssh: {port: 2300}", {"22", "2300"}),
    ):
        write(lab, other)
        for expected in ("changed", "ok"):
            answer = lab.json("configure")
            assert answer.exit_code == 0, answer.trouble()
            assert {row["status"] for row in answer.of("sshd", "one", "port")} == {expected}
        assert ports_in_use(lab) == ports
        exported = lab.run("inventory", "--format", "ssh-config", "--hosts", "one")
        assert f"Port {max(ports, key=int)}\n" in exported.stdout


@pytest.mark.full
def test_a_machine_made_anew_or_without_a_record_is_found(make_lab: Make) -> None:
    lab = make_lab(LAB.format(sshd="{Port: 2222}"))
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    # A machine that is made anew starts at 22, and one whose record is lost is found by the file.
    assert lab.json("configure").exit_code == 0
    assert lab.json("-y", "up", "--recreate", "--hosts", "one").exit_code == 0
    assert lab.json("configure").exit_code == 0
    known = next(lab.state.rglob("known_hosts"))
    known.write_text(known.read_text().replace(",[10.143.2.11]:2222", ""))
    assert lab.json("status").exit_code == 0
    assert "[10.143.2.11]:2222" in known.read_text()
