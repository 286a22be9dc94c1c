"""Connections that are begun ahead: the next dial goes on with them, and fails as one of its own would."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from labrun.errors import UnreachableError
from labrun.tasks.guest import tcp
from labrun.tasks.guest.tcp import VERSION, begin_to_dial, dial, stop_dialling
from tests.loopback_sshd import free_port


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def where(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()
    return str(host), int(port)


def test_the_server_is_reached_before_anyone_dials_and_only_once(listener: socket.socket) -> None:
    begin_to_dial(*where(listener))
    accepted, peer = listener.accept()
    with accepted, dial(*where(listener), 5) as sock:
        assert sock.getsockname() == peer
        accepted.settimeout(5)
        assert accepted.recv(100) == VERSION
        with dial(*where(listener), 5) as second:
            assert second.getsockname() != peer


def test_an_old_connection_makes_way_for_a_new_one(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_to_dial(*where(listener))
    accepted, peer = listener.accept()
    monkeypatch.setattr(tcp, "_FRESH", -1.0)
    with accepted, dial(*where(listener), 5) as sock:
        assert sock.getsockname() != peer
        accepted.settimeout(5)
        assert accepted.recv(100) == b"", "the old one is closed"


def test_a_refused_connection_says_the_same_and_the_next_attempt_is_a_new_one() -> None:
    port = free_port()
    begin_to_dial("127.0.0.1", port)
    expected = f"connect: 127.0.0.1 port {port} refused the connection"
    with pytest.raises(UnreachableError) as caught:
        dial("127.0.0.1", port, 5)
    assert str(caught.value) == expected
    with socket.create_server(("127.0.0.1", port)), dial("127.0.0.1", port, 5) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_a_host_that_never_answers_is_waited_for_as_long_as_by_any_dial() -> None:
    # One connection fills the queue of this server, and further ones get no answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, dial(*where(server), 5):
        begin_to_dial(*where(server))
        with pytest.raises(UnreachableError, match="did not answer in time"):
            dial(*where(server), 0.3)


def test_what_is_no_address_is_left_to_the_dial() -> None:
    begin_to_dial("localhost", 22)
    assert not tcp._begun
    begin_to_dial("fe80::1%nowhere", 22)
    assert not tcp._begun


def test_a_connection_that_was_begun_can_be_dropped(listener: socket.socket) -> None:
    begin_to_dial(*where(listener))
    accepted, peer = listener.accept()
    stop_dialling(*where(listener))
    stop_dialling(*where(listener))
    with accepted, dial(*where(listener), 5) as sock:
        assert sock.getsockname() != peer
        accepted.settimeout(5)
        assert accepted.recv(100) == b"", "it is closed"
