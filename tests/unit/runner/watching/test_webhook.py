"""The webhook against a real HTTP server on loopback: signed, bounded, tried twice."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import LabrunError, UsageError
from labrun.runner.watching import webhook
from labrun.runner.watching.webhook import SIGNATURE, Webhook, read_secret
from tests.webhook_server import Inbox, webhook_server

BODY = b'{"changes": []}'


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with webhook_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "*")


def test_the_body_is_posted_and_signed(inbox: Inbox) -> None:
    Webhook(f"{inbox.url}/hook?x=1", b"secret").post(BODY, {"X-Labrun-Event": "drift"})
    (request,) = inbox.received
    assert (request.method, request.path, request.body) == ("POST", "/hook?x=1", BODY)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Labrun-Event"] == "drift"
    digest = hmac.new(b"secret", BODY, hashlib.sha256).hexdigest()
    assert request.headers[SIGNATURE] == f"sha256={digest}"


def test_a_name_and_a_password_in_the_url_are_sent_as_such(inbox: Inbox) -> None:
    Webhook(inbox.url.replace("//", "//alice:p%40ss@") + "/hook").post(BODY, {})
    (request,) = inbox.received
    assert (request.path, request.headers["Authorization"]) == ("/hook", "Basic YWxpY2U6cEBzcw==")
    assert request.headers["Host"] == inbox.url.removeprefix("http://")


def test_without_a_secret_nothing_is_signed(inbox: Inbox) -> None:
    Webhook(inbox.url).post(BODY, {})
    assert SIGNATURE not in inbox.received[0].headers


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_in_trouble_is_asked_once_more(inbox: Inbox, code: int) -> None:
    inbox.codes = [code, 200]
    Webhook(inbox.url).post(BODY, {})
    assert [request.body for request in inbox.received] == [BODY, BODY]


def test_and_not_a_third_time(inbox: Inbox) -> None:
    inbox.codes = [503]
    with pytest.raises(LabrunError) as caught:
        Webhook(f"{inbox.url}/token").post(BODY, {})
    assert caught.value.reason == f"webhook {inbox.url}: it answered 503 Service Unavailable"
    assert len(inbox.received) == 2


@pytest.mark.parametrize("code", [400, 401, 404, 302, 307])
def test_a_refusal_is_final_and_no_redirect_is_followed(inbox: Inbox, code: int) -> None:
    inbox.codes = [code, 200]
    with pytest.raises(LabrunError, match=f"it answered {code}"):
        Webhook(inbox.url).post(BODY, {})
    assert len(inbox.received) == 1


def test_a_slow_server_is_not_waited_for(inbox: Inbox) -> None:
    release = threading.Event()
    inbox.before_answer = release
    try:
        with pytest.raises(LabrunError) as caught:
            Webhook(inbox.url, seconds=0.3).post(BODY, {})
        assert caught.value.reason.startswith(f"webhook {inbox.url}: ")
        assert not release.is_set()
        assert len(inbox.received) == 2
    finally:
        release.set()


def test_a_server_that_drips_is_not_waited_for_either() -> None:
    # Each byte comes in time for the socket; all of them together do not.
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def drip() -> None:
            client, _ = server.accept()
            with client:
                while not done.wait(0.05):
                    try:
                        client.sendall(b"H")
                    except OSError:
                        return

        threads = [threading.Thread(target=drip) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            with pytest.raises(LabrunError, match=r"no answer within 0\.5 s"):
                Webhook(f"http://127.0.0.1:{server.getsockname()[1]}", seconds=0.5).post(BODY, {})
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_a_server_that_is_not_there_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LabrunError) as caught:
        Webhook(f"http://user:pass@127.0.0.1:{port}/token").post(BODY, {})
    assert caught.value.reason == f"webhook http://127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize("url", ["ftp://example.org/", "file:///etc/passwd", "example.org", "http://", ""])
def test_only_http_is_a_webhook(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Webhook(url)
    assert caught.value.reason == "--webhook: an http or https URL is required"


def test_a_secret_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text(" s3cret\n")
    monkeypatch.setenv("HOOK_SECRET", "other")
    assert read_secret(str(path)) == b"s3cret"
    assert read_secret("env:HOOK_SECRET") == b"other"
    assert "s3cret" not in repr(Webhook("http://x/", read_secret(str(path))))


def test_a_secret_that_is_not_there_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    (tmp_path / "empty").write_text("\n")
    missing = tmp_path / "missing"
    for reference, message in (
        ("env:HOOK_SECRET", "the variable HOOK_SECRET is not set"),
        (str(tmp_path / "empty"), f"{tmp_path / 'empty'} is empty"),
        (str(missing), f"cannot read {missing}: No such file or directory"),
    ):
        with pytest.raises(UsageError) as caught:
            read_secret(reference)
        assert caught.value.reason == f"--webhook-secret: {message}"
