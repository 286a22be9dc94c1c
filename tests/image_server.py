"""An HTTP server on loopback that serves files as a test wants: whole, in parts, cut off, changed."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Served", "Shelf", "image_server"]


@dataclass
class Served:
    """One file and how it is served.

    ``ends`` = after how many bytes each answer breaks off, in turn, the last one for ever; None = whole.
    ``length`` = the Content-Length that is said, None = the true one, -1 = none. ``stalls`` = after the bytes
    that come, nothing comes and the connection stays. ``drips`` = a byte at a time. ``wrong_start`` = a
    range is answered with another one. ``on_answer`` is called before each answer.
    """

    data: bytes = b""
    code: int = 200
    location: str = ""
    etag: str = '"1"'
    ranges: bool = True
    ends: list[int | None] = field(default_factory=lambda: [None])
    length: int | None = None
    stalls: bool = False
    drips: bool = False
    wrong_start: bool = False
    on_answer: Callable[[], None] = lambda: None


@dataclass
class Shelf:
    """The server's address, its files by path, and the requests that came: path, Range, other headers."""

    url: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: bytes, **how: object) -> str:
        """Put a file on the shelf; return its address."""
        self.files[path] = Served(data, **how)  # type: ignore[arg-type]
        return f"{self.url}{path}"


@contextmanager
def image_server() -> Iterator[Shelf]:
    """Serve for the time of the block."""
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = re.sub(r"^http://[^/]*", "", self.path)
            shelf.asked.append((path, self.headers.get("Range", "")))
            shelf.headers.append(dict(self.headers))
            served = shelf.files.get(path.partition("?")[0], Served(code=404))
            served.on_answer()
            self._answer(served)

        def _answer(self, served: Served) -> None:
            start, code = 0, served.code
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if match and served.ranges and self.headers.get("If-Range") == served.etag:
                start, code = int(match[1]), 206
                if start >= len(served.data):
                    code, start = 416, len(served.data)
            self.send_response(code)
            if served.location:
                self.send_header("Location", served.location)
            if served.etag:
                self.send_header("ETag", served.etag)
            if code == 206:
                first = start + 1 if served.wrong_start else start
                self.send_header("Content-Range", f"bytes {first}-{len(served.data) - 1}/{len(served.data)}")
            rest = served.data[start:]
            length = len(rest) if served.length is None else served.length
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self._send(served, rest)
            self.close_connection = True

        def _send(self, served: Served, rest: bytes) -> None:
            end = served.ends.pop(0) if len(served.ends) > 1 else served.ends[0]
            part = rest[:end]
            if served.drips:
                for byte in part:
                    self.wfile.write(bytes([byte]))
                    if shelf.over.wait(0.05):
                        return
            else:
                self.wfile.write(part)
            if served.stalls:
                self.wfile.flush()
                shelf.over.wait(60)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def handle(self) -> None:
            # The client that stopped waiting is what a test is about.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shelf
    finally:
        shelf.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
