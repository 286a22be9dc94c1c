"""The template process seen from its parent: what it may read, and when it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from labrun.bounded import as_object
from labrun.json_values import JsonObject

__all__ = ["Renderer", "TemplateError"]

_SCRIPT: Final = Path(__file__).with_name("template_child.py")
_MEMORY: Final = 512 * 1024 * 1024
SECONDS: Final = 5.0
"""Time limit of one template for one host; the first one includes loading jinja2."""
ALL_SECONDS: Final = 60
"""Time limit for all templates of a lab."""


class TemplateError(Exception):
    """Report why a template gives no text; ``where`` is its ``FILE:LINE``, None if ``why`` includes it."""

    def __init__(self, why: str, where: str | None = None):
        super().__init__(why)
        self.why = why
        self.where = where


class _EndedError(Exception):
    """The process is gone; the message completes a sentence that starts with the template's name."""


class Renderer:
    """A process that renders templates of one lab, started with the first one.

    ``load`` returns the source of a template by its name, or raises TemplateError. ``values`` are what
    templates see, None if they are only parsed. Use it as a context manager, which ends the process.
    """

    def __init__(self, load: Callable[[str], str], values: JsonObject | None, largest: int):
        self._load = load
        self._values = values
        self._largest = largest
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._until = 0.0
        self._gave_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def render(self, template: str, host: str) -> str:
        """Return the rendered text for a host, empty if the template is only parsed. Raises TemplateError.

        After a timeout no other template is tried: the file is broken, and every further wait adds up.
        """
        if self._gave_up:
            return ""
        deadline = time.monotonic() + SECONDS
        job: JsonObject = {
            "template": template,
            "host": host if self._values is not None else None,
            "largest": self._largest,
        }
        try:
            if self._process is None:
                self._start(deadline)
            answer = self._asked(job, min(deadline, self._until))
            while "load" in answer:
                answer = self._asked(self._source(answer["load"]), min(deadline, self._until))
        except _EndedError as error:
            raise TemplateError(f"{template}: {error}") from None
        if answer.get("too_long"):
            raise TemplateError(
                f"{template}: this renders to more than {self._largest // 1024 // 1024} MiB of text"
            )
        if "problem" in answer:
            raise TemplateError(answer["problem"], answer["where"])
        return str(answer["text"])

    def _source(self, name: str) -> dict[str, str]:
        try:
            return {"source": self._load(name)}
        except TemplateError as error:
            return {"problem": error.why}

    def _start(self, deadline: float) -> None:
        # Drop the user's environment, which may hold tokens, except for the paths of Python's modules.
        kept = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-X", "utf8", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise _EndedError(f"no process can be started to render it: {error.strerror}") from error
        self._until = time.monotonic() + ALL_SECONDS
        first: JsonObject = {"values": self._values or {}, "memory": _MEMORY, "seconds": ALL_SECONDS}
        self._asked(first, deadline)

    def _asked(self, question: JsonObject, deadline: float) -> Mapping[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise self._ended() from None
        while b"\n" not in self._pending:
            self._pending += self._read(process, deadline)
        line, _, self._pending = self._pending.partition(b"\n")
        return as_object(json.loads(line), "template")

    def _read(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            self._end()
            self._gave_up = True
            raise _EndedError(f"this takes more than {SECONDS:g} s")
        data = os.read(process.stdout.fileno(), 1024 * 1024)
        if not data:
            raise self._ended()
        return data

    def _ended(self) -> _EndedError:
        """Return why the process ended by itself: only running out of memory kills Python like this."""
        self._end()
        return _EndedError("this takes too much memory")

    def _end(self) -> None:
        process, self._process, self._pending = self._process, None, b""
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        process.wait()
