"""Render templates in a process that can be killed: run as a script, with pipes for all its I/O.

Each line on standard input and output is one JSON document. The first one holds the values that templates
see. Then each ``{"template": NAME, "host": NAME}`` is answered by ``{"text": …}`` or ``{"problem": …,
"where": …}``. In between, ``{"load": NAME}`` requests a template's source: this process never opens a file
of the lab.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypedDict

from jinja2 import FunctionLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MARK = "labrun-template:"
"""Prefix of a template's name in tracebacks."""


class _Values(TypedDict):
    """What templates see; without hosts, they are only parsed."""

    lab: Mapping[str, object]
    hosts: Mapping[str, object]
    networks: Mapping[str, object]


class _Job(TypedDict):
    """A template to render for a host, in at most ``largest`` characters; no host = it is only parsed."""

    template: str
    host: str | None
    largest: int


class _TooLongError(Exception):
    """The output exceeds the size limit of a file."""


def _ask(question: object) -> Any:
    sys.stdout.write(json.dumps(question) + "\n")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def _load(name: str) -> tuple[str, str, None]:
    answer: dict[str, str] = _ask({"load": name})
    if "source" not in answer:
        raise TemplateNotFound(name, answer["problem"])
    return answer["source"], _MARK + name, None


def _present(value: Any) -> Any:
    if value is None:
        raise ValueError("this value is none: `default(..., true)` sets a fallback")
    return value


def _rendered(environment: ImmutableSandboxedEnvironment, values: _Values, job: _Job) -> str:
    template = environment.get_template(job["template"])
    if job["host"] is None:
        return ""
    parts: list[str] = []
    left = job["largest"]
    for part in template.generate({**values}, host=values["hosts"][job["host"]]):
        left -= len(part)
        if left < 0:
            raise _TooLongError
        parts.append(part)
    return "".join(parts)


def _line_of(traceback: TracebackType | None) -> str | None:
    """Return ``FILE:LINE`` of the innermost template in a traceback; jinja adds the template names."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(_MARK):
            found = f"{file.removeprefix(_MARK)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _answer(environment: ImmutableSandboxedEnvironment, values: _Values, job: _Job) -> Mapping[str, object]:
    try:
        return {"text": _rendered(environment, values, job)}
    except TemplateSyntaxError as error:
        where = f"{error.name or job['template']}:{error.lineno}"
        return {"problem": f"{where}: {error.message or 'this is not a valid template'}", "where": None}
    except _TooLongError:
        return {"too_long": True, "where": None}
    except TemplateNotFound as error:
        return {"problem": error.message, "where": _line_of(error.__traceback__)}
    except Exception as error:  # noqa: BLE001 - whatever a template can make of its values
        # jinja evaluates constants at compile time, before there is a line.
        return {"problem": _reason(error)[:1000], "where": _line_of(error.__traceback__) or job["template"]}


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "this takes too much memory"
    if isinstance(error, RecursionError):
        return "this is nested too deeply"
    return str(getattr(error, "message", None) or error) or type(error).__name__


def main() -> None:
    """Render the requested templates until standard input ends."""
    first = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_AS, (first["memory"], first["memory"]))
    # The limit also ends an endless loop after the parent process is gone.
    resource.setrlimit(resource.RLIMIT_CPU, (first["seconds"], first["seconds"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_load),
        undefined=StrictUndefined,
        finalize=_present,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    job: _Job = _ask({"ready": True})
    while True:
        job = _ask(_answer(environment, first["values"], job))


if __name__ == "__main__":
    main()
