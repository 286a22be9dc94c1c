"""An HTTP server on loopback that keeps what it is sent and answers as a test wants."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Inbox", "Received", "webhook_server"]


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Inbox:
    """The server's URL, what came in, and the codes it answers with, the last one for ever.

    Where ``before_answer`` is an event, it answers when that is set.
    """

    url: str = ""
    codes: list[int] = field(default_factory=lambda: [204])
    received: list[Received] = field(default_factory=list)
    before_answer: threading.Event | None = None


@contextmanager
def webhook_server() -> Iterator[Inbox]:
    """Serve for the time of the block."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            inbox.received.append(Received(self.command, self.path, dict(self.headers), body))
            code = inbox.codes.pop(0) if len(inbox.codes) > 1 else inbox.codes[0]
            if inbox.before_answer is not None:
                inbox.before_answer.wait(60)
            self.send_response(code)
            if code in (301, 302, 307):
                self.send_header("Location", f"{inbox.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET = _take  # noqa: N815 - names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def handle(self) -> None:
            # The client that stopped waiting is what a test is about.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
