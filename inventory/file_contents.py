"""The contents of ``files``: given in the lab file, read beside it, or rendered from a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from labrun.inventory.host_models import FileModel
from labrun.inventory.merging import Merged
from labrun.inventory.model import FileSpec, Host, Lab
from labrun.inventory.problems import Path as Place
from labrun.inventory.problems import Report, quoted
from labrun.inventory.template_values import lab_values

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["LARGEST", "with_files"]

LARGEST: Final = 1024 * 1024


def with_files(lab: Lab, merged: Mapping[str, Merged], report: Report) -> Lab:
    """Return the lab with every host's files; what cannot be read or rendered goes to the report.

    Templates see the whole lab, so this comes when all the rest is there. Where something else is
    wrong already, they are parsed and not rendered: what they would show is not what is meant.
    """
    if not any(host.model.files for host in merged.values()):
        return lab
    contents = _Contents(lab, report)
    hosts = {name: _with_files(host, merged[name], contents) for name, host in lab.hosts.items()}
    return replace(lab, hosts=MappingProxyType(hosts))


def _with_files(host: Host, merged: Merged, contents: _Contents) -> Host:
    found = []
    for path, model in (merged.model.files or {}).items():
        content = contents.of(host, merged, path, model)
        found.append(
            FileSpec(
                path, content, model.mode, model.owner, model.group, model.validate_with, model.on_change
            )
        )
    return replace(host, files=tuple(found))


class _Contents:
    """Reads and renders; a template is compiled once, for however many hosts."""

    def __init__(self, lab: Lab, report: Report):
        self._report = report
        self._directory = Path(lab.directory)
        self._environment: Environment | None = None
        self._values = None if report else lab_values(lab)

    def of(self, host: Host, merged: Merged, path: str, model: FileModel) -> bytes:
        if model.content is not None:
            return model.content.encode()
        key = "src" if model.src is not None else "template"
        place = (*self._origin(merged, path), key)
        name = model.src or model.template or ""
        data = self._read(place, name)
        if data is None or model.src is not None:
            return data or b""
        return self._rendered(host, place, name)

    def _origin(self, merged: Merged, path: str) -> Place:
        layers: tuple[Place, ...] = (
            ("hosts", merged.name),
            *(("groups", name) for name in merged.groups),
            ("defaults",),
        )
        places = [(*layer, "files", path) for layer in layers]
        return next((place for place in places if self._report.is_in_file(place)), places[0])

    def _read(self, place: Place, name: str) -> bytes | None:
        file = self._directory / name
        try:
            with file.open("rb") as stream:
                data = stream.read(LARGEST + 1)
        except FileNotFoundError:
            self._report.add(place, f"there is no file {quoted(name)}", f"looked for in {self._directory}")
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._report.add(place, f"{quoted(name)} cannot be read: {reason}")
            return None
        if len(data) > LARGEST:
            self._report.add(
                place, f"{quoted(name)} is larger than 1 MiB", "put it into a package or an image"
            )
            return None
        return data

    def _rendered(self, host: Host, place: Place, name: str) -> bytes:
        from jinja2 import TemplateError, TemplateSyntaxError

        if self._environment is None:
            self._environment = _environment(self._directory)
        try:
            template = self._environment.get_template(name)
            if self._values is not None:
                return template.render(self._values, host=self._values["hosts"][host.name]).encode()
        except TemplateSyntaxError as error:
            where = f"{error.name or name}:{error.lineno}"
            self._report.add(place, f"{where}: {error.message or 'this is no template'}")
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            line = _line_of(error.__traceback__, self._directory)
            reason = getattr(error, "message", None) or str(error) or type(error).__name__
            what = f"{line}: {reason}" if line else reason
            self._report.add(place, what, f"rendered for {host.name}" if line else None)
        return b""


def _environment(directory: Path) -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined, TemplateNotFound
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def load(name: str) -> tuple[str, str, None]:
        file = directory / name
        try:
            return file.read_text(encoding="utf-8"), str(file), None
        except UnicodeDecodeError:
            raise TemplateNotFound(name, f"{name} is not UTF-8") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TemplateNotFound(name, f"{name} cannot be read: {reason}") from error

    def present(value: Any) -> Any:
        if value is None:
            raise ValueError("this value is none: `default(..., true)` gives it another")
        return value

    return ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        finalize=present,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _line_of(traceback: TracebackType | None, directory: Path) -> str | None:
    """Return ``FILE:LINE`` of the innermost template in a traceback; jinja has put their names there."""
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(f"{directory}/"):
            found = f"{file.removeprefix(f'{directory}/')}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found
