"""What answers at port 22 and is no sshd: unreachable, with what it sent, at once and in little memory."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labrun.errors import UnreachableError
from labrun.tasks.guest.transport import transport_of
from tests.loopback_sshd import LoopbackSshd, loopback_sshd

VERSION = b"SSH-2.0-strange\r\n"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer one connection on loopback as ``talk`` does; yields the port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                try:
                    talk(peer)
                except OSError:
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(60)
            assert not thread.is_alive()


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        for part in parts:
            peer.sendall(part)
        while peer.recv(65536):
            pass

    return talk


def answers_a_line(part: bytes) -> Callable[[socket.socket], None]:
    """Wait for the client to speak, and answer its first line."""

    def talk(peer: socket.socket) -> None:
        heard = b""
        while b"\n" not in heard:
            heard += peer.recv(1024)
        peer.sendall(part)
        while peer.recv(65536):
            pass

    return talk


def says_and_leaves(part: bytes) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        peer.sendall(part)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass

    return talk


def packet(payload: bytes) -> bytes:
    """Return an SSH packet as it is before keys are exchanged."""
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def names(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def kexinit(*lists: bytes) -> bytes:
    return packet(b"\x14" + os.urandom(16) + b"".join(map(names, lists)) + bytes(5))


def endless(chunk: bytes) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        for _ in range(4096):
            peer.sendall(chunk * 64)

    return talk


def refusal(sshd: LoopbackSshd, talk: Callable[[socket.socket], None]) -> str:
    """Return why such a server is unreachable, its port as N."""
    began = time.monotonic()
    with server(talk) as port:
        host = sshd.host(port=port, banner_timeout=2, conn_timeout=2, auth_timeout=2)
        with pytest.raises(UnreachableError) as caught:
            transport_of(host)
    assert time.monotonic() - began < 45
    return re.sub(r"port \d+", "port N", caught.value.reason)


NOT_SSH = "127.0.0.1 port N does not speak SSH"


@pytest.mark.parametrize(
    ("talk", "sent"),
    [
        (
            says_and_leaves(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 400 Bad Request",
        ),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "HTTP/1.1 400 Bad Request"),
        (answers_a_line(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "HTTP/1.1 400 Bad Request"),
        (
            answers_a_line(b"-ERR unknown command 'SSH-2.0-labrun'\r\n"),
            "-ERR unknown command 'SSH-2.0-labrun'",
        ),
        (says_and_leaves(b"220 mail ESMTP\r\n"), "220 mail ESMTP"),
        (says(b"220 mail ESMTP\r\n"), "220 mail ESMTP"),
        (says(b"\xff\xfd\x18\xff\xfd\x20login: "), "����� login:"),
        (says_and_leaves(b"\x1b[2J\x07bell\xff\n"), "�[2J�bell�"),
        (says_and_leaves(b"no end of line"), "no end of line"),
        (endless(b"A" * 1000), "A" * 59 + "…"),
        (endless(b"never\n"), "never"),
    ],
    ids=[
        "http",
        "http stays",
        "http waits",
        "redis",
        "smtp",
        "smtp stays",
        "telnet",
        "escapes",
        "no line",
        "endless line",
        "endless lines",
    ],
)
def test_what_is_no_ssh_is_named_by_what_it_sent(
    sshd: LoopbackSshd, talk: Callable[[socket.socket], None], sent: str
) -> None:
    assert refusal(sshd, talk) == f"{NOT_SSH} (it sent: {sent})"


@pytest.mark.parametrize(
    "garbage",
    [
        kexinit(*[b"\xff\xfe\x80"] * 10),
        kexinit(b"curve25519-sha256", b"\xc3\x28", *[b"x"] * 8),
        packet(b"\x14" + os.urandom(16) + b"\x7f\xff\xff\xff"),
        packet(b"\x14"),
        packet(b""),
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 8,
        b"\xff" * 64,
        b"\x00" * 64,
        os.urandom(4096),
    ],
    ids=["names", "one name", "length", "short", "empty", "http", "ones", "zeros", "noise"],
)
def test_a_handshake_of_garbage_is_unreachable_in_words(sshd: LoopbackSshd, garbage: bytes) -> None:
    reason = refusal(sshd, says_and_leaves(VERSION + garbage))
    assert reason.startswith("127.0.0.1 port N"), reason
    assert "Error" not in reason
    assert "codec" not in reason
    assert "in time" not in reason
    assert len(reason) < 400
    assert reason.isprintable()


def test_a_server_that_waits_for_a_word_is_named_at_once(sshd: LoopbackSshd) -> None:
    """Whatever time a banner is given: it waits for the client, who speaks first, too."""
    began = time.monotonic()
    waits = answers_a_line(b"HTTP/1.0 400 Bad request\r\nConnection: keep-alive\r\n\r\n")
    said = pytest.raises(UnreachableError, match=r"it sent: HTTP/1\.0 400 Bad request")
    with server(waits) as port, said:
        transport_of(sshd.host(port=port, banner_timeout=60))
    assert time.monotonic() - began < 40


def test_a_real_http_server_is_named(sshd: LoopbackSshd) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            with pytest.raises(UnreachableError) as caught:
                transport_of(sshd.host(port=http.server_port))
        finally:
            http.shutdown()
            thread.join(60)
    assert "does not speak SSH (it sent: " in caught.value.reason


@pytest.mark.full
def test_a_server_that_says_nothing_is_left_before_the_handshakes_time_is_up(
    sshd: LoopbackSshd,
) -> None:
    began = time.monotonic()
    with server(says()) as port, pytest.raises(UnreachableError) as caught:
        transport_of(sshd.host(port=port))
    assert 9 < time.monotonic() - began < 45
    assert caught.value.reason == (
        f"127.0.0.1 port {port} accepted the connection but sent no SSH banner within 10 s:"
        " its sshd hangs, or something else listens there"
    )


@pytest.mark.full
def test_a_slow_sshd_is_waited_for(sshd: LoopbackSshd) -> None:
    """An emulated guest may take seconds until its sshd says a word."""

    def slow(peer: socket.socket) -> None:
        threading.Event().wait(5)
        with socket.create_connection(("127.0.0.1", sshd.port)) as real:
            back = threading.Thread(target=pump, args=(real, peer))
            back.start()
            pump(peer, real)
            back.join(60)

    with server(slow) as port:
        host = sshd.host(port=port)
        try:
            assert transport_of(host).run("echo in", timeout=60).stdout == "in\n"
        finally:
            host.close_connections()


def test_the_version_is_said_once(sshd: LoopbackSshd) -> None:
    heard = b""

    def listens(peer: socket.socket) -> None:
        nonlocal heard
        heard = peer.recv(1024)
        peer.sendall(VERSION)
        while more := peer.recv(65536):
            heard += more

    refusal(sshd, listens)
    assert heard.startswith(b"SSH-2.0-labrun\r\n")
    assert heard.count(b"SSH-2.0") == 1


def test_who_hangs_up_at_once_did_not_take_too_long(sshd: LoopbackSshd) -> None:
    assert refusal(sshd, lambda _peer: None) == "127.0.0.1 port N closed the connection during the handshake"
    after_version = says_and_leaves(VERSION)
    assert refusal(sshd, after_version) == "127.0.0.1 port N closed the connection during the handshake"


def test_a_packet_of_four_gigabytes_is_not_waited_for(sshd: LoopbackSshd) -> None:
    reason = refusal(sshd, says(VERSION, struct.pack(">I", 2**32 - 4), bytes(1024)))
    assert reason == "127.0.0.1 port N: a packet of 4294967288 bytes"


def test_a_real_sshd_after_a_greeting_of_its_own_is_let_in(sshd: LoopbackSshd, tmp_path: Path) -> None:
    """Some servers say something before their version, and it is no reason to turn away."""

    def behind_a_greeting(peer: socket.socket) -> None:
        peer.sendall(b"Authorized use only\r\n")
        with socket.create_connection(("127.0.0.1", sshd.port)) as real:
            back = threading.Thread(target=pump, args=(real, peer))
            back.start()
            pump(peer, real)
            back.join(60)

    with server(behind_a_greeting) as port:
        host = sshd.host(port=port)
        try:
            assert transport_of(host).run("echo in", timeout=60).stdout == "in\n"
        finally:
            host.close_connections()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
