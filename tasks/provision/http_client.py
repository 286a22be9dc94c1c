"""One HTTP request as labrun makes it: proxies of the environment, few redirects, and only where it may go.

urllib has proxies, TLS, redirects and ranges; httpx and requests resume no download either, and each would be
one more dependency.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from labrun import __version__
from labrun.errors import LabrunError

__all__ = ["DownloadError", "is_private", "opened", "require_url", "shown"]

_MOST_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}


class DownloadError(LabrunError):
    """Report why a server gave no file.

    ``is_final`` = it will give the same answer again; ``status`` is the HTTP status, 0 without one.
    """

    def __init__(
        self, reason: str, *, hint: str | None = None, is_final: bool = False, status: int = 0
    ) -> None:
        super().__init__(reason, step="image", hint=hint)
        self.is_final = is_final
        self.status = status


def shown(url: str) -> str:
    """Return an address without what may be secret: user, password, and the values of a query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "what is no address"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "..." if parts.query else "", ""))


def is_private(url: str) -> bool:
    """Tell whether nobody on the way can change what comes from an address: HTTPS, or this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def require_url(url: str, *, proven: bool) -> None:
    """Raise DownloadError unless labrun may fetch from there.

    ``proven`` = a checksum known from elsewhere decides what counts; without one, plain HTTP is refused.
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
        parts = urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not has_host:
        raise DownloadError(
            f"{shown(url) if has_host else url!r} is not an address to download from",
            hint="https:// or http://",
            is_final=True,
        )
    if not proven and not is_private(url):
        raise DownloadError(
            f"{shown(url)} is plain HTTP: anybody on the way could change what comes",
            hint="use https://, or give its checksum with --sha256",
            is_final=True,
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, to places that the first address could have been."""

    max_redirections = _MOST_REDIRECTS
    max_repeats = 2

    def __init__(self, proven: bool) -> None:
        self._proven = proven

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            require_url(newurl, proven=self._proven)
        except DownloadError as error:
            fp.close()
            raise DownloadError(
                f"{shown(req.full_url)} leads elsewhere: {error.reason}", is_final=True
            ) from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(proven: bool) -> urllib.request.OpenerDirector:
    # Put together by hand: build_opener adds handlers of file:, ftp: and data: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(proven),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    parts = urlsplit(url)
    user, has_user, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        urlunsplit((parts.scheme, host, parts.path or "/", parts.query, "")),
        headers={"User-Agent": f"labrun/{__version__}", "Accept-Encoding": "identity", **headers},
    )
    if has_user:
        # Not for whoever the server redirects to.
        login = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {login}")
    return request


@contextmanager
def opened(
    url: str, *, proven: bool, timeout: float, headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    """Yield the answer to a GET request; ``timeout`` is in seconds, for each wait.

    ``proven`` as for :func:`require_url`. Raises DownloadError, also for what goes wrong while it is read.
    """
    require_url(url, proven=proven)
    place = shown(url)
    try:
        with _opener(proven).open(_request(url, headers or {}), timeout=timeout) as response:
            yield cast(HTTPResponse, response)
    except HTTPError as error:
        with error:
            raise _of_status(place, error) from error
    except URLError as error:
        raise DownloadError(f"{place}: {_reason(error.reason)}", hint=_hint(error.reason)) from error
    except TimeoutError as error:
        raise DownloadError(f"{place} sent nothing for {timeout:g} s") from error
    except (HTTPException, OSError) as error:
        raise DownloadError(f"{place}: the connection broke: {_reason(error)}") from error


def _of_status(place: str, error: HTTPError) -> DownloadError:
    if 300 <= error.code < 400:
        return DownloadError(f"{place} redirects in a circle, or too often", is_final=True)
    hint = "it was moved, or never there" if error.code in (404, 410) else None
    # Of the 4xx, these mean "later".
    is_final = 400 <= error.code < 500 and error.code not in (408, 416, 425, 429)
    reason = f"{place}: the server answers {error.code}"
    return DownloadError(reason, hint=hint, is_final=is_final, status=error.code)


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _hint(error: object) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return None
    return "without a way out, bring the file by hand: labrun image import FILE; http_proxy is respected"
