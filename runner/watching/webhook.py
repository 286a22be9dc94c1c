"""POST a JSON document to a webhook: signed, in bounded time, with one retry."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from labrun import __version__
from labrun.errors import LabrunError, UsageError
from labrun.runner.watching.host_network import in_host_network

__all__ = ["SIGNATURE", "Webhook", "read_secret", "signature"]

SIGNATURE = "X-Labrun-Signature"
"""The header with ``sha256=`` and the HMAC-SHA256 of the body in hexadecimal."""
_SECONDS = 10.0  # timeout of one attempt
_PAUSE = 1.0  # before the retry
_BUSY = 429


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and send the signature to another server."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow no redirect."""


class _RefusedError(LabrunError):
    """The server's answer was a refusal, so a retry is pointless."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL to POST to, and the secret for the signature; ``seconds`` is the timeout of one attempt."""

    url: str
    secret: bytes | None = field(default=None, repr=False)
    seconds: float = _SECONDS

    def __post_init__(self) -> None:
        """Raise UsageError if the URL is not http or https."""
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise UsageError("--webhook: an http or https URL is required", hint="https://example.org/hook")

    @property
    def place(self) -> str:
        """Return the URL as far as it may be shown: the part after the host is often a secret."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send the body, with one retry if that may help. Raises LabrunError."""
        try:
            self._attempt(body, headers)
        except _RefusedError:
            raise
        except LabrunError:
            threading.Event().wait(_PAUSE)
            self._attempt(body, headers)

    def _attempt(self, body: bytes, headers: Mapping[str, str]) -> None:
        what = f"webhook {self.place}"
        try:
            in_host_network(lambda: self._send(body, headers), seconds=self.seconds, what=what)
        except urllib.error.HTTPError as error:
            error.close()
            kind = LabrunError if error.code >= 500 or error.code == _BUSY else _RefusedError
            raise kind(f"{what}: it answered {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise LabrunError(f"{what}: {getattr(reason, 'strerror', None) or reason}") from error

    def _send(self, body: bytes, headers: Mapping[str, str]) -> None:
        known = {"Content-Type": "application/json", "User-Agent": f"labrun/{__version__}", **headers}
        if self.secret is not None:
            known[SIGNATURE] = signature(self.secret, body)
        parts = urlsplit(self.url)
        if parts.username is not None:
            # urllib takes the part before an @ as part of the host's name.
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            known["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        request = urllib.request.Request(url, data=body, headers=known, method="POST")  # noqa: S310 - checked
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.seconds):
            pass


def signature(secret: bytes, body: bytes) -> str:
    """Return the value of the header :data:`SIGNATURE` for a body."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def read_secret(reference: str) -> bytes:
    """Return the secret that ``env:NAME`` or a file's path refers to, with white space stripped.

    Raises UsageError if there is none.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(name, "").encode()
        missing = f"the variable {name} is not set"
    else:
        try:
            secret = Path(reference).read_bytes()
        except OSError as error:
            raise UsageError(f"--webhook-secret: cannot read {reference}: {error.strerror}") from error
        missing = f"{reference} is empty"
    if not secret.strip():
        raise UsageError(f"--webhook-secret: {missing}")
    return secret.strip()
