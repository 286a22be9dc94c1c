"""Tell what kind of file another tool has written, and turn it into a lab file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labrun.errors import LabFileError, UsageError
from labrun.inventory.file.load import lab_of
from labrun.inventory.file.source import FILE_NAME, Source, decode_source, read_source
from labrun.inventory.starting.containerlab import read_containerlab
from labrun.inventory.starting.draft import Draft, misread
from labrun.inventory.starting.kathara import LINE, read_kathara
from labrun.inventory.starting.lab_text import lab_text, said
from labrun.inventory.starting.netlab import read_netlab
from labrun.inventory.starting.settle import settle
from labrun.inventory.starting.vagrantfile import read_vagrantfile
from labrun.inventory.starting.yaml_source import at, read_tree

__all__ = ["Imported", "from_draft", "from_file", "is_uri"]

_KNOWN: Final = (
    "a containerlab or netlab topology (YAML), a Vagrantfile, Kathara's lab.conf, or a libvirt URI such as"
    " qemu:///system"
)
_IN_FOLDERS: Final = ("lab.conf", "Vagrantfile", "*.clab.yml", "*.clab.yaml", "topology.yml", "topology.yaml")


@dataclass(frozen=True, slots=True)
class Imported:
    """The lab file, the kind of source it is made from, and what of that it does not have."""

    text: str
    kind: str
    left_out: tuple[str, ...]


def is_uri(text: str) -> bool:
    """Return whether the text is a libvirt URI, and no file."""
    return re.match(r"[a-z]+(\+[a-z0-9]+)?://", text) is not None


def from_file(path: Path, *, name: str) -> Imported:
    """Return the lab file for another tool's file, or for the only such file of a folder.

    ``name`` is the lab's if the source has none. Raises LabFileError for a file that cannot be read,
    UsageError for what is not understood.
    """
    source = read_source(_in_folder(path) if path.is_dir() else path)
    return from_draft(_reader_of(source)(source), name=name)


def _in_folder(folder: Path) -> Path:
    found = sorted({path for pattern in _IN_FOLDERS for path in folder.glob(pattern) if path.is_file()})
    if len(found) != 1:
        what = f"{len(found)} files that labrun could read" if found else "no file that labrun can read"
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{folder}: the folder has {what}", hint=f"name one of {names}" if found else _KNOWN)
    return found[0]


def _reader_of(source: Source) -> Callable[[Source], Draft]:
    name = Path(source.name).name
    if name.startswith("Vagrantfile") or re.search(r"^\s*Vagrant\.configure\b", source.text, re.MULTILINE):
        return read_vagrantfile
    if not name.endswith((".yml", ".yaml")) and (
        name == "lab.conf" or any(LINE.fullmatch(line) for line in source.text.splitlines()[:200])
    ):
        return read_kathara
    if not name.endswith((".yml", ".yaml")):
        raise misread(source.name, "not a file that labrun can read", hint=f"it reads {_KNOWN}")
    return _read_topology


def _read_topology(source: Source) -> Draft:
    root = read_tree(source)
    if at(root, "topology") is not None:
        return read_containerlab(source, root)
    if at(root, "nodes") is not None:
        return read_netlab(source, root)
    if at(root, "hosts") is not None and at(root, "name") is not None:
        raise misread(
            source.name, "is a lab file of labrun already", hint=f"copy it: cp {source.name} {FILE_NAME}"
        )
    raise misread(source.name, "has neither `topology` nor `nodes`", hint=f"labrun reads {_KNOWN}")


def from_draft(draft: Draft, *, name: str) -> Imported:
    """Return the lab file for a draft: a valid one. Raises UsageError if what the draft has makes none."""
    draft.name = draft.name or name
    settle(draft)
    text = lab_text(draft, name=name)
    problems = _problems(text)
    if problems is not None:
        # Routes and kernel parameters can contradict each other in ways that only the whole lab shows.
        for host in draft.hosts.values():
            for what, value in (("gateway", host.gateways), ("routes", host.routes), ("sysctl", host.sysctl)):
                if value:
                    draft.leave_out(f"{host.name}: {what}", "some of the lab's do not fit together")
                    value.clear()
        text = lab_text(draft, name=name)
        problems = _problems(text)
    if problems is not None:
        first = problems.problems[0]
        more = f", and {len(problems.problems) - 1} more" if len(problems.problems) > 1 else ""
        raise misread(draft.source, f"no valid lab follows from it: {first.path}: {first.what}{more}")
    return Imported(text, draft.kind, tuple(said(map(str, draft.left_out))))


def _problems(text: str) -> LabFileError | None:
    try:
        lab_of(decode_source(text.encode(), FILE_NAME, str(Path.cwd())))
    except LabFileError as error:
        return error
    return None
