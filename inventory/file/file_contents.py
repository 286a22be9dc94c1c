"""The contents of ``files``: given inline, read from beside the lab file, or rendered from a template."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from labrun.inventory.file.host_models import FileModel
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.problems import Path as Place
from labrun.inventory.file.problems import Report, quoted
from labrun.inventory.file.template_process import Renderer, TemplateError
from labrun.inventory.file.template_values import lab_values
from labrun.inventory.model import FileSpec, Host, Lab
from labrun.regular_files import read_regular

__all__ = ["ALL", "LARGEST", "with_files"]

LARGEST: Final = 1024 * 1024
"""Size limit in bytes of one file, of one template, and of its rendered output."""
ALL: Final = 64 * LARGEST
"""Size limit in bytes of everything that is read and rendered for one lab."""


def with_files(lab: Lab, merged: Mapping[str, Merged], report: Report, *, allow_outside: bool) -> Lab:
    """Return the lab with every host's files; anything that cannot be read or rendered is reported.

    Templates see the whole lab, so this runs when the rest is complete. If there are other errors already,
    templates are parsed but not rendered, since their output would be misleading. Files outside the lab
    file's folder are only read with ``allow_outside``.
    """
    if not any(host.model.files for host in merged.values()):
        return lab
    with _Contents(lab, report, allow_outside=allow_outside) as contents:
        hosts = {name: _with_files(host, merged[name], contents) for name, host in lab.hosts.items()}
    return replace(lab, hosts=MappingProxyType(hosts))


def _with_files(host: Host, merged: Merged, contents: _Contents) -> Host:
    files = []
    for path, model in (merged.model.files or {}).items():
        content = contents.of(host, merged, path, model)
        files.append(
            FileSpec(
                path,
                content,
                model.mode,
                model.owner,
                model.group,
                model.validate_with,
                model.on_change,
                secret=bool(model.secret),
            )
        )
    return replace(host, files=tuple(files))


class _Contents:
    """Reads and renders each file once, for any number of hosts."""

    def __init__(self, lab: Lab, report: Report, *, allow_outside: bool):
        self._report = report
        self._directory = Path(lab.directory)
        self._allow_outside = allow_outside
        self._read_before: dict[str, bytes] = {}
        self._left = ALL
        values = None if report else lab_values(lab)
        self._renderer = Renderer(self._source, values, LARGEST)

    def __enter__(self) -> _Contents:
        self._renderer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._renderer.__exit__(*error)

    def of(self, host: Host, merged: Merged, path: str, model: FileModel) -> bytes:
        if model.content is not None:
            return model.content.encode()
        key = "src" if model.src is not None else "template"
        place = (*merged.place(self._report, "files", path), key)
        name = model.src or model.template or ""
        try:
            data = self._read(name)
            return data if model.src is not None else self._rendered(host, place, name)
        except FileNotFoundError:
            self._report.add(place, f"there is no file {quoted(name)}", f"looked for in {self._directory}")
        except _UnreadableError as error:
            self._report.add(place, error.why, error.hint)
        return b""

    def _read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError, _UnreadableError."""
        if name not in self._read_before:
            self._read_before[name] = self._counted(self._read_anew(name))
        return self._read_before[name]

    def _read_anew(self, name: str) -> bytes:
        try:
            file = (self._directory / name).resolve()
            if not (self._allow_outside or file.is_relative_to(self._directory.resolve())):
                raise _UnreadableError(
                    f"{quoted(name)} is outside the lab file's folder", "--allow-outside permits it"
                )
            # The path is resolved already, so a symlink placed there in the meantime is not followed.
            return read_regular(file, LARGEST, follow=False)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
            if number == errno.EFBIG:
                raise _UnreadableError(
                    f"{quoted(name)} is larger than 1 MiB", "put it into a package or an image"
                ) from None
            if number == errno.EINVAL:
                raise _UnreadableError(f"{quoted(name)} is not a regular file") from None
            raise _UnreadableError(f"{quoted(name)} cannot be read: {reason}") from error

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise _UnreadableError(f"the files up to this one add up to more than {ALL // LARGEST} MiB")
        return data

    def _source(self, name: str) -> str:
        """Return the source text of a template for the rendering process. Raises TemplateError."""
        try:
            return self._read(name).decode("utf-8")
        except FileNotFoundError:
            raise TemplateError(f"{name} cannot be read: {os.strerror(errno.ENOENT)}") from None
        except _UnreadableError as error:
            raise TemplateError(f"{error.why} ({error.hint})" if error.hint else error.why) from None
        except UnicodeDecodeError:
            raise TemplateError(f"{name} is not UTF-8") from None

    def _rendered(self, host: Host, place: Place, name: str) -> bytes:
        try:
            return self._counted(self._renderer.render(name, host.name).encode("utf-8", "surrogatepass"))
        except TemplateError as error:
            what = f"{error.where}: {error.why}" if error.where else error.why
            self._report.add(place, what, f"rendered for {host.name}" if error.where else None)
        return b""


class _UnreadableError(Exception):
    """A file of the lab that cannot be read."""

    def __init__(self, why: str, hint: str | None = None):
        super().__init__(why)
        self.why = why
        self.hint = hint
