"""A machine's serial console: log in automatically, then run a script there or hand the line to a person."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
import select
import signal
import subprocess
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labrun.bounded import integer
from labrun.errors import AuthenticationError, ConnectionLostError, HypervisorError, UnreachableError
from labrun.ports import Completed
from labrun.tasks.guest.output import MOST_BYTES, require_size
from labrun.tasks.guest.scripts import assigned, guest_script, wrapped

__all__ = ["ConsoleTransport", "Line", "Login", "log_in", "opened"]

_CHUNK = 64 * 1024
# What is kept while a prompt is waited for: a boot's messages are still in the buffer.
_LONGEST_TAIL = 4096
# How long a line must be quiet for its last words to be a prompt (seconds), and when it is asked again.
_QUIET, _ASK_AGAIN = 0.3, 3.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|\][^\x07]*\x07|[=>])")
_LOGIN = re.compile(r"login: ?$")
_PASSWORD = re.compile(r"[Pp]assword: ?$")
_PROMPT = re.compile(r"[$#] ?$")
_REFUSED = "Login incorrect"
# A terminal takes lines of at most 4095 bytes.
_PIECE = 1024
_TRIES = 3
_LAST_WORDS = 2.0


@dataclass(frozen=True, slots=True)
class Login:
    """The lab's own login at a console."""

    user: str
    password: str


class Line:
    """The open line to a console; ``descriptor`` can be selected on. Everything read is text to the end."""

    def __init__(self, host: str, descriptor: int) -> None:
        self.host = host
        self.descriptor = descriptor
        self._tail = ""

    def write(self, text: str) -> None:
        """Type the text."""
        data = text.encode(errors="surrogateescape")
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except OSError as error:
                raise self._lost() from error

    def read(self, seconds: float) -> str:
        """Return what arrives within ``seconds``, empty if nothing does."""
        if not select.select([self.descriptor], [], [], max(0.0, seconds))[0]:
            return ""
        try:
            data = os.read(self.descriptor, _CHUNK)
        except OSError as error:
            raise self._lost() from error
        if not data:
            raise self._lost()
        text = data.decode(errors="replace")
        self._tail = (self._tail + text)[-_LONGEST_TAIL:]
        return text

    def _lost(self) -> ConnectionLostError:
        last = _plain(self._tail).strip().splitlines()
        reason = f"the console closed: {last[-1][:200]}" if last else "the console closed"
        return ConnectionLostError(reason, host=self.host, step="console")

    def settled(self, deadline: float) -> str:
        """Return the end of what was printed, once the line is quiet; control sequences are left out."""
        while time.monotonic() < deadline and self.read(min(_QUIET, deadline - time.monotonic())):
            pass
        return _plain(self._tail)


def _plain(text: str) -> str:
    return _ESCAPES.sub("", text).replace("\r", "")


@contextmanager
def opened(host: str, uri: str, domain: str) -> Iterator[Line]:
    """Yield the line to a machine's console, which nobody else may have open. ``uri`` is that of its driver.

    Raises HypervisorError without virsh, which is what carries it, also from elsewhere.
    """
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        process = subprocess.Popen(
            ["virsh", "-q", "-c", uri, "console", domain],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        os.close(ours)
        raise HypervisorError(
            "there is no virsh on this machine", host=host, step="console", hint="install libvirt-clients"
        ) from error
    finally:
        os.close(theirs)
    try:
        yield Line(host, ours)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        os.close(ours)
        try:
            process.wait(timeout=_LAST_WORDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def log_in(line: Line, login: Login, deadline: float) -> None:
    """Log in, unless somebody is logged in there already.

    Raises AuthenticationError if the console does not take the login, UnreachableError if nothing there asks
    for one before ``deadline``.
    """
    line.write("\r")
    asked = time.monotonic()
    typed = False
    while time.monotonic() < deadline:
        shown = line.settled(deadline)
        if typed and _REFUSED in shown.rpartition(login.user)[2]:
            raise AuthenticationError(
                f"its console does not accept the lab's login as {login.user}",
                host=line.host,
                step="console",
                hint=f"`labrun console {line.host}` sets its password",
            )
        if _PROMPT.search(shown):
            return
        if _LOGIN.search(shown):
            line.write(f"{login.user}\r")
            _await(line, _PASSWORD, deadline)
            line.write(f"{login.password}\r")
            typed = True
        elif _PASSWORD.search(shown) or time.monotonic() - asked > _ASK_AGAIN:
            line.write("\r")
            asked = time.monotonic()
        else:
            line.read(_QUIET)
    last = line.settled(0).strip().splitlines()
    last_line = f"; its last line: {last[-1][:200]}" if last else ""
    raise UnreachableError(
        f"nothing on its console asks for a login{last_line}", host=line.host, step="console"
    )


def _await(line: Line, prompt: re.Pattern[str], deadline: float) -> None:
    while not prompt.search(line.settled(deadline)):
        if time.monotonic() >= deadline:
            raise UnreachableError("its console asks for no password", host=line.host, step="console")
        line.read(_QUIET)


@dataclass(frozen=True, slots=True)
class ConsoleTransport:
    """Run scripts as root over a machine's serial console; ``uri`` is that of its driver."""

    host: str
    uri: str
    domain: str
    login: Login

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Feed ``script`` to ``sh`` as root; ``sudo`` has no effect. The console is logged out of afterwards.

        Raises UnreachableError or AuthenticationError without a login, ConnectionLostError if the script is
        still running after ``timeout`` or its output is garbled, UnreadableError if it prints too much.
        """
        del sudo
        began = time.monotonic()
        deadline = began + timeout
        with opened(self.host, self.uri, self.domain) as line:
            log_in(line, self.login, deadline)
            shell = _Shell(line, f"labrun-{secrets.token_hex(12)}", deadline)
            try:
                shell.begin()
                status = shell.run(wrapped(script))
                out, err = shell.given("out"), shell.given("err")
            finally:
                shell.end()
        return Completed(status, out, err, time.monotonic() - began)


class _Shell:
    """The shell of a login at a console, as a machine talks to it: no echo, and each answer with a mark."""

    def __init__(self, line: Line, mark: str, deadline: float) -> None:
        self._line = line
        self._mark = mark
        self._deadline = deadline
        self._unread = ""
        self._before = ""

    def begin(self) -> None:
        half = len(self._mark) // 2
        # Whole, the mark is in the answer alone, not in the echo of this line. A shell that reads a pipe
        # edits no lines and prints no prompts.
        ready = f"printf '\\n%s%s ready\\n' {self._mark[:half]} {self._mark[half:]}"
        self._type(f" stty -echo; {ready}; exec sh -c 'cat | (sh; kill -HUP 0)'")
        self._answer("ready")
        script = assigned({"m": self._mark, "most": MOST_BYTES + 1}) + guest_script("console")
        for text in script.splitlines():
            if not text.startswith("#"):
                self._type(text)

    def run(self, script: str) -> int:
        self._type("take")
        self._answer("next")
        encoded = base64.b64encode(script.encode()).decode("ascii")
        for start in range(0, len(encoded), _PIECE):
            self._type(encoded[start : start + _PIECE])
            self._answer("next")
        self._type(".")
        self._answer("taken")
        self._type("run")
        return integer(self._answer("status")) or 0

    def given(self, stream: str) -> str:
        """Return one stream of the script, asked for again if the console mixed something into it."""
        for _ in range(_TRIES):
            self._type(f"give {stream}")
            self._answer(f"begin {stream}")
            sums = self._answer("end")
            data = _decoded(self._before)
            if data is not None and sums.split()[:1] == [hashlib.sha256(data).hexdigest()]:
                require_size(len(data), out=data)
                return data.decode(errors="replace")
        raise ConnectionLostError(
            "what came over the console is garbled", host=self._line.host, step="console"
        )

    def end(self) -> None:
        with contextlib.suppress(ConnectionLostError):
            # The shell ends, and with it the login; what is typed now must get there before the line closes.
            self._deadline = time.monotonic() + _LAST_WORDS
            self._type('rm -rf "$d"; printf "\\n%s bye\\n" "$m"; exit')
            self._answer("bye")

    def _type(self, text: str) -> None:
        self._line.write(f"{text}\r")

    def _answer(self, word: str) -> str:
        """Return the rest of the next line that begins with the mark and ``word``; keep what came before."""
        start = f"\n{self._mark} {word}"
        while True:
            before, found, rest = self._unread.partition(start)
            line, newline, after = rest.partition("\n")
            if found and newline:
                self._before, self._unread = before, after
                return line.strip()
            if time.monotonic() >= self._deadline:
                reason = "the script did not finish in time; it may still be running"
                raise ConnectionLostError(reason, host=self._line.host, step="console")
            self._unread += self._line.read(self._deadline - time.monotonic()).replace("\r", "")
            require_size(len(self._unread), 2 * MOST_BYTES)


def _decoded(text: str) -> bytes | None:
    lines = (line for line in text.split("\n") if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", line))
    try:
        return base64.b64decode("".join(lines), validate=True)
    except (binascii.Error, ValueError):
        return None
