"""Logins through real jump hosts on loopback: one login to each, strict on every hop, failures by name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host

from labrun.errors import HostKeyChangedError, HostKeyError, JumpHostError, TransportError, UnreachableError
from labrun.inventory.hosts.connections import JUMP
from labrun.key_pairs import make_host_key
from labrun.state import LabState
from labrun.tasks.configure.behind import answering
from labrun.tasks.guest.jump_host import SHARED, JumpHosts
from labrun.tasks.guest.transport import fresh_transport
from tests.loopback_sshd import LoopbackSshd, free_port, loopback_sshd


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("jump"), LogLevel="VERBOSE") as server:
        yield server


@pytest.fixture(scope="module")
def end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("end")) as server:
        yield server


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    SHARED.close()


def through(jump: LoopbackSshd | Host, end: LoopbackSshd, **changes: Any) -> Host:
    """Return the host ``end``, reached through ``jump``."""
    host = end.host("end", **changes)
    host.data[JUMP] = jump if isinstance(jump, Host) else jump.host("gate")
    return host


def options_of(server: LoopbackSshd) -> dict[str, Any]:
    """Return how to log in to it as the jump host ``gate``."""
    place = {"host": "127.0.0.1", "port": server.port, "username": server.user}
    return {**server.extras(), "name": "gate", **place}


def logins(server: LoopbackSshd) -> int:
    """Return how many logins an sshd has let in so far."""
    return (server.directory / "sshd.log").read_text(encoding="utf-8").count("Accepted publickey")


def wrong(server: LoopbackSshd, directory: Path) -> LoopbackSshd:
    """Return a server whose key on record is another one."""
    state = LabState.open("other", "test:///default", directory / "other")
    state.remember_host_keys({"loop": (["127.0.0.1"], make_host_key("another").public)})
    file = directory / "known_hosts"
    file.write_text(state.known_hosts.read_text(encoding="utf-8"), encoding="utf-8")

    class Known(LoopbackSshd):
        def extras(self, **changes: Any) -> dict[str, Any]:
            return {**server.extras(**changes), "alt_key_file": str(file)}

    return Known(server.port, server.user, server.directory, server.state, server.process)


def test_all_hosts_behind_a_jump_host_share_one_login(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    before, ended = logins(jump), []

    def work() -> None:
        with fresh_transport(through(jump, end)) as transport:
            ended.append(transport.run("echo $SSH_CONNECTION", timeout=60).stdout.split()[3])

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert ended == [str(end.port)] * 6
    assert logins(jump) - before == 1


def test_jump_hosts_lead_to_jump_hosts(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    middle = jump.host("inner")
    middle.data[JUMP] = jump.host("gate")
    before = logins(jump)
    with fresh_transport(through(middle, end)) as transport:
        assert transport.run("echo here", timeout=60).stdout == "here\n"
    assert logins(jump) - before == 2


def test_a_large_answer_comes_through_whole(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    with fresh_transport(through(jump, end)) as transport:
        done = transport.run("head -c 4194304 /dev/zero | tr '\\0' o", timeout=60)
    assert done.stdout == "o" * 4194304


def test_another_key_at_the_end_is_that_hosts(jump: LoopbackSshd, end: LoopbackSshd, tmp_path: Path) -> None:
    with pytest.raises(HostKeyChangedError) as caught:
        fresh_transport(through(jump, wrong(end, tmp_path)))
    assert caught.value.reason.startswith("its host key is not the one on record: SHA256:")


def test_another_key_of_the_jump_host_is_named_as_its(
    jump: LoopbackSshd, end: LoopbackSshd, tmp_path: Path
) -> None:
    with pytest.raises(JumpHostError) as caught:
        fresh_transport(through(wrong(jump, tmp_path), end), patience=30)
    said = "its jump host gate: its host key is not the one on record: SHA256:"
    assert caught.value.reason.startswith(said)
    assert not isinstance(caught.value, HostKeyError)


def test_a_jump_host_that_is_not_there(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    port = free_port()
    with pytest.raises(UnreachableError) as caught:
        fresh_transport(through(jump.host("gate", port=port), end))
    assert caught.value.reason == f"its jump host gate: 127.0.0.1 port {port} refused the connection"


def test_a_jump_host_without_an_address(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    gate = jump.host("gate")
    gate.hostname, gate.data["labrun_unreachable"] = None, "no lease on left"
    with pytest.raises(UnreachableError) as caught:
        fresh_transport(through(gate, end))
    assert caught.value.reason == "its jump host gate: no lease on left"


def test_nobody_listens_at_the_end(jump: LoopbackSshd, end: LoopbackSshd) -> None:
    host = through(jump, end)
    host.port = free_port()
    with pytest.raises(UnreachableError) as caught:
        fresh_transport(host)
    assert caught.value.reason == f"127.0.0.1 port {host.port} through gate refused the connection"
    # Why it was refused is looked for on the host, as without a jump host.
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_jump_host_that_lets_nobody_through(end: LoopbackSshd, tmp_path: Path) -> None:
    with loopback_sshd(tmp_path, AllowTcpForwarding="no") as shut, pytest.raises(JumpHostError) as caught:
        fresh_transport(through(shut, end), patience=30)
    assert str(caught.value) == (
        "end: connect: its jump host gate does not forward connections"
        " (AllowTcpForwarding of the sshd on gate must be yes or local)"
    )


def test_whether_it_forwards_can_be_asked_where_nobody_listens(jump: LoopbackSshd, tmp_path: Path) -> None:
    SHARED.require_forwarding(options_of(jump), "127.0.0.1", free_port(), 10)
    with loopback_sshd(tmp_path, AllowTcpForwarding="no") as shut, pytest.raises(JumpHostError) as caught:
        SHARED.require_forwarding(options_of(shut), "127.0.0.1", free_port(), 10)
    assert caught.value.reason == "its jump host gate does not forward connections"
    SHARED.close()
    with pytest.raises(UnreachableError) as gone:
        SHARED.require_forwarding({**options_of(jump), "port": free_port()}, "127.0.0.1", 1, 10)
    assert "refused the connection" in gone.value.reason


def test_of_many_that_it_refuses_at_once_each_hears_why(end: LoopbackSshd, tmp_path: Path) -> None:
    """paramiko has room for one refusal a connection: the others were said not to answer in time."""
    with loopback_sshd(tmp_path, AllowTcpForwarding="no") as shut, ThreadPoolExecutor(16) as pool:
        hosts = [through(shut, end) for _ in range(16)]
        caught = [each.exception() for each in [pool.submit(fresh_transport, host) for host in hosts]]
    assert {getattr(error, "reason", error) for error in caught} == {
        "its jump host gate does not forward connections"
    }


def test_a_jump_host_that_comes_back_is_logged_in_to_again(end: LoopbackSshd, tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as gate:
        host = through(gate, end)
        with fresh_transport(host) as transport:
            transport.run(":", timeout=60)
        # As a NIC of the jump host that went down and came back, or its reboot.
        for known in SHARED._known.values():
            assert known._login is not None
            known._login.close()
        with fresh_transport(host) as transport:
            assert transport.run("echo again", timeout=60).stdout == "again\n"


def test_who_answers_behind_a_jump_host_is_asked_over_a_new_login(
    jump: LoopbackSshd, end: LoopbackSshd
) -> None:
    with fresh_transport(through(jump, end)):
        before = logins(jump)
        options = {
            **jump.extras(),
            "name": "gate",
            "host": "127.0.0.1",
            "port": jump.port,
            "username": jump.user,
        }
        there = {"name": "end", "address": "127.0.0.1", "port": end.port, "jump": options}
        gone = {**there, "name": "gone", "port": free_port()}
        assert [each["name"] for each in answering([there, gone], 10)] == ["end"]  # type: ignore[list-item]
        assert logins(jump) - before == 1


def test_a_refused_jump_host_is_not_asked_again_at_once(end: LoopbackSshd, tmp_path: Path) -> None:
    """Since OpenSSH 9.8 a failed login costs a penalty, and a few hosts behind it would shut labrun out."""
    with loopback_sshd(tmp_path, LogLevel="VERBOSE") as gate:
        (gate.directory / "authorized_keys").write_text("", encoding="utf-8")
        hosts = JumpHosts()
        for _ in range(5):
            with pytest.raises(TransportError) as caught:
                hosts.dial(options_of(gate), "127.0.0.1", end.port, 10)
            assert "its jump host gate: 127.0.0.1 port" in caught.value.reason
        log = (gate.directory / "sshd.log").read_text(encoding="utf-8")
        assert log.count("Connection from") == 1 + 1  # that of the fixture, which waited for it
