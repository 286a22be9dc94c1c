"""Where labrun logs in: the port of the lab file, the one on record, and the one of the first boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.connections import access_of, connection_extras
from labrun.inventory.sshd_ports import login_port
from labrun.key_pairs import make_host_key
from labrun.state import LabState


@pytest.mark.parametrize(
    ("sshd", "port"),
    [
        ({}, 22),
        ({"port": ("2222",)}, 2222),
        ({"port": ("2222", "22")}, 22),
        ({"port": ("2222", "2300")}, 2222),
        ({"listenaddress": ("10.0.0.1:2222",)}, 2222),
        ({"listenaddress": ("[fd00::1]:2222", "10.0.0.1")}, 22),
        ({"listenaddress": ("10.0.0.1", "fd00::1"), "port": ("2222",)}, 2222),
        ({"listenaddress": ("10.0.0.1:2300",), "port": ("2222",)}, 2300),
    ],
)
def test_the_port_of_the_lab_file(sshd: dict[str, tuple[str, ...]], port: int) -> None:
    assert login_port(sshd) == port


@pytest.mark.parametrize(
    ("settings", "port", "sshd"),
    [
        ("ssh: {port: 2222}", 2222, {"port": ("2222",)}),
        ("ssh: {port: 2222}, sshd: {Port: [22, 2222]}", 2222, {"port": ("22", "2222")}),
        (
            "ssh: {port: 2222}, sshd: {ListenAddress: '10.1.0.9:2222'}",
            2222,
            {"listenaddress": ("10.1.0.9:2222",)},
        ),
        ("ssh: {port: 22}", 22, {}),
        # The file leaves sshd alone: something else has it listen there.
        ("ssh: {port: 2222}, sshd: false", 2222, None),
    ],
)
def test_ssh_port_of_a_machine_that_labrun_makes(
    settings: str, port: int, sshd: dict[str, tuple[str, ...]] | None, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(
        f"name: demo\nnetworks: {{net: {{cidr: 10.1.0.0/24}}}}\n"
        f"hosts: {{a: {{networks: {{net: 10.1.0.9}}, {settings}}}}}\n"
    )
    lab = load_lab(tmp_path / "lab.yaml")
    host = lab.hosts["a"]
    assert (access_of(lab, host, None).port, host.sshd) == (port, sshd)
    assert lab.notices == ()


def test_a_login_goes_where_the_host_answered_last_and_then_where_it_should(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: demo\nnetworks: {net: {cidr: 10.1.0.0/24}}\n"
        "hosts:\n  a: {sshd: {Port: 2222}, networks: {net: 10.1.0.9}}\n"
        "  b: {address: 192.0.2.1, ssh: {port: 2022}}\n"
    )
    lab = load_lab(tmp_path / "lab.yaml")
    state = LabState.open("demo", "test:///default", tmp_path / "state")

    def ports(host: str) -> tuple[int, object]:
        access = access_of(lab, lab.hosts[host], state)
        made = lab.hosts[host].machine is not None
        extras = connection_extras(access, made_by_labrun=made)["labrun-ssh"]
        return access.port, extras.get("other_ports")

    assert access_of(lab, lab.hosts["a"], None).port == 2222
    assert ports("a") == (22, "2222")
    state.remember_host_keys({"a": (["10.1.0.9"], make_host_key("a").public)})
    state.remember_port("a", 2300)
    assert ports("a") == (2300, "2222 22")
    state.remember_port("a", 2222)
    assert ports("a") == (2222, "22")
    assert ports("b") == (2022, None)
