"""Files: content, mode and owner, validated before installation, with a command to run after a change."""

from __future__ import annotations

import base64
from dataclasses import replace
from hashlib import sha256

from labrun.inventory.model import FileSpec, Host, Lab
from labrun.tasks.configure.file_script import (
    FileChange,
    apply_changes,
    commands_of,
    seconds_for,
    undo_changes,
)
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.text_diff import unified
from labrun.tasks.guest.facts.files import FoundFile, found_files, look_at, odd_kind
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import NOTHING, Attributes, Item, Words, diff_of
from labrun.tasks.state.sections import FILES

__all__ = ["Files", "packed"]

_MODE, _OWNER, _GROUP = "0644", "root", "root"


class Files:
    """The resource ``files``; rows are named after the paths."""

    section = FILES.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"files": […]}`` with each content as text, else in base64; None without files.

        The content is a secret if not all users on the host may read the file, or if it is declared as one.
        """
        if not host.files:
            return None
        files = [packed(file) for file in host.files]
        private = (raw for raw in files if _is_secret(raw, raw["mode"]))
        return {"files": files, "secrets": [raw.get("text") or raw.get("base64") or "" for raw in private]}

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the paths."""
        return tuple(str(file["path"]) for file in want["files"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read each file's type, owner and hash; also its content if that differs."""
        return (Probe((), look_at([(file["path"], _digest(file)) for file in want["files"]])),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the files whose content, mode or owner is not as declared."""
        existing = found_files(self.names(want), facts)
        planned = [(raw, _item(raw, existing.get(raw["path"]), facts)) for raw in want["files"]]
        items = tuple(item for _, item in planned)
        changes = [
            _change(raw, number, existing.get(raw["path"]))
            for number, (raw, item) in enumerate(planned)
            if item.state == "change"
        ]
        if not changes:
            return SectionPlan(self.section, items)
        return SectionPlan(
            self.section,
            items,
            apply_changes(changes),
            undo_changes(changes),
            commands_of(changes),
            saves=tuple(change.path for change in changes),
            partial=True,
            wide=True,
            seconds=seconds_for(changes),
            # A file may be private on the host without being declared so, and stays private.
            secrets=tuple(
                str(raw.get("text") or raw.get("base64") or "")
                for raw, _ in planned
                if (there := existing.get(raw["path"])) is not None and _is_private(there.mode)
            ),
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that write, check and use each file."""
        return commands_of([_change(raw, number, None) for number, raw in enumerate(want["files"])])


def packed(file: FileSpec) -> Json:
    """Return a file as it travels in host data: its content as ``text``, else in ``base64``."""
    text = _text(file.content)
    return {
        "path": file.path,
        **({"base64": base64.b64encode(file.content).decode()} if text is None else {"text": text}),
        "mode": None if file.mode is None else f"{file.mode:0>4}",
        "owner": file.owner,
        "group": file.group,
        "validate": file.validate,
        "on_change": file.on_change,
        **({"secret": True} if file.secret else {}),
    }


def _is_private(mode: str | None) -> bool:
    """Tell whether some users may not read a file of this mode."""
    return mode is not None and not int(mode, 8) & 0o004


def _is_secret(raw: Json, *modes: str | None) -> bool:
    return bool(raw.get("secret")) or any(map(_is_private, modes))


def _text(content: bytes) -> str | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _content(raw: Json) -> bytes:
    return str(raw["text"]).encode() if "text" in raw else base64.b64decode(raw["base64"])


def _digest(raw: Json) -> str:
    return sha256(_content(raw)).hexdigest()


def _change(raw: Json, number: int, existing: FoundFile | None) -> FileChange:
    """Return the file's complete desired state; undeclared attributes stay, a new file gets defaults."""
    return FileChange(
        number=number,
        path=raw["path"],
        text=raw.get("text"),
        base64=raw.get("base64"),
        mode=raw["mode"] or (existing.mode if existing else _MODE),
        owner=raw["owner"] or (existing.owner if existing else _OWNER),
        group=raw["group"] or (existing.group if existing else _GROUP),
        validate=raw["validate"],
        on_change=raw["on_change"],
    )


def _item(raw: Json, existing: FoundFile | None, facts: Facts) -> Item:
    path, digest, meant = raw["path"], _digest(raw), _change(raw, 0, existing)
    odd = odd_kind(path, facts)
    item = Item(
        path,
        {"content": digest, **{key: raw[key] for key in ("mode", "owner", "group") if raw[key]}},
        _there(existing) if odd is None else {"content": ""},
        refused=odd,
    )
    private = _is_secret(raw, meant.mode, existing.mode if existing else None)
    expected = _summary("content" if private else digest[:8], meant)
    actual = "absent" if odd is None else ""
    if existing is not None:
        # Even a hash would allow guessing the content.
        shown = "content" if existing.digest == digest else "different content"
        actual = _summary(shown if private else existing.digest[:8], existing)
    lines = []
    if "content" in item.differences:
        lines.append(_hidden_diff(raw, meant.mode, existing) if private else _content_diff(raw, existing))
    lines.append(diff_of({key: each for key, each in item.differences.items() if key != "content"}))
    return replace(item, words=Words(expected, actual, "\n".join(filter(None, lines))))


def _there(existing: FoundFile | None) -> Attributes:
    if existing is None:
        return NOTHING
    return {
        "content": existing.digest,
        "mode": existing.mode,
        "owner": existing.owner,
        "group": existing.group,
    }


def _summary(content: str, file: FileChange | FoundFile) -> str:
    return f"{content} {file.mode} {file.owner}:{file.group}"


def _hidden_diff(raw: Json, mode: str, existing: FoundFile | None) -> str:
    before = f"-{raw['path']}: different content\n" if existing is not None else ""
    for_owner = "only its owner" if not int(mode, 8) & 0o077 or not _is_private(mode) else "not all users"
    why = "it is declared secret" if raw.get("secret") else f"{for_owner} may read it"
    return f"{before}+{raw['path']}: not shown, as {why}"


def _content_diff(raw: Json, existing: FoundFile | None) -> str:
    path, after = raw["path"], raw.get("text")
    before = "" if existing is None else _text(existing.content) if existing.content is not None else None
    if after is None or before is None:
        size = f"{len(_content(raw))} bytes"
        if existing is None:
            return f"+{path}: {size}, binary"
        return f"-{path}: different content\n+{path}: {size}, " + ("binary" if after is None else "not shown")
    return unified(path, None if existing is None else before, str(after))
