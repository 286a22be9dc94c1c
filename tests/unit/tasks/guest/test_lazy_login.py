"""Nornir's connection `netmiko` is labrun's login: made once, on first use, and by labrun's rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nornir.core import Nornir
from nornir.core.configuration import Config
from nornir.core.inventory import Host, Hosts, Inventory
from nornir.plugins.runners import SerialRunner
from nornir_netmiko.tasks import netmiko_send_command

from labrun.errors import UnreachableError
from labrun.tasks.guest.lazy_login import LazyLogin, offer_login
from labrun.tasks.guest.transport import CONNECTION, transport_of
from tests.loopback_sshd import LoopbackSshd, loopback_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def test_a_task_of_netmiko_and_labrun_itself_share_one_login(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    offer_login(host)
    try:
        nornir = Nornir(inventory=Inventory(Hosts({host.name: host})), runner=SerialRunner())
        done = nornir.run(netmiko_send_command, command_string="echo $((40 + 2)) $SSH_CONNECTION")
        assert not done.failed, done[host.name][0].exception
        number, *connection = str(done[host.name][0].result).split()
        assert number == "42"
        again = transport_of(host).run("echo $SSH_CONNECTION", timeout=30)
        assert again.stdout.split() == connection
        third = nornir.run(netmiko_send_command, command_string="echo $SSH_CONNECTION")
        assert str(third[host.name][0].result).split() == connection
    finally:
        host.close_connections()


def test_nothing_logs_in_before_it_is_asked_for(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    host.hostname = "192.0.2.1"
    offer_login(host)
    assert isinstance(host.connections[CONNECTION], LazyLogin)
    host.close_connections()


def test_a_login_that_is_there_is_kept(sshd: LoopbackSshd) -> None:
    host = sshd.host()
    try:
        transport_of(host)
        before = host.connections[CONNECTION]
        offer_login(host)
        assert host.connections[CONNECTION] is before
    finally:
        host.close_connections()


def test_labrun_s_reason_reaches_the_task(tmp_path: Path) -> None:
    host = Host(name="away", data={"labrun_unreachable": "the machine is off"})
    offer_login(host)
    with pytest.raises(UnreachableError, match="the machine is off"):
        host.get_connection(CONNECTION, Config())
