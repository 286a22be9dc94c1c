"""Man pages, one for each command, written from what the commands say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from labrun import __version__
from labrun.runner.cli.options import GlobalOption

__all__ = ["man_pages"]

_STATUSES: Final = {
    "0": "Everything is as declared, or was made so.",
    "1": "A step or a check failed, or a host has rolled a change back.",
    "2": "The command line or the lab file is wrong.",
    "3": "Something would change, is pending or has drifted.",
    "4": "A host cannot be reached, or its state cannot be told.",
    "5": "The hypervisor or libvirt is the reason.",
    "130": "Interrupted.",
}
_VERBATIM: Final = "\b"
"""click's mark of a paragraph whose lines stay as they are."""


def man_pages(root: click.Command) -> dict[str, str]:
    """Return the text of each page by its file name, ``labrun.1`` and ``labrun-image-build.1`` among them."""
    context = click.Context(root, info_name="labrun", help_option_names=["-h", "--help"])
    return {f"{name.replace(' ', '-')}.1": _page(name, here) for name, here in _walk(context)}


def _walk(ctx: click.Context) -> Iterator[tuple[str, click.Context]]:
    yield ctx.command_path, ctx
    for name, command in _commands(ctx):
        yield from _walk(click.Context(command, info_name=name, parent=ctx))


def _commands(ctx: click.Context) -> list[tuple[str, click.Command]]:
    group = ctx.command
    if not isinstance(group, click.Group):
        return []
    found = ((name, group.get_command(ctx, name)) for name in group.list_commands(ctx))
    return [(name, command) for name, command in found if command is not None]


def _page(name: str, ctx: click.Context) -> str:
    command = ctx.command
    is_root = ctx.parent is None
    first, *rest = _paragraphs(command.help or "")
    usage = " ".join(command.collect_usage_pieces(ctx))
    parts = [
        f'.TH "{_text(name.replace(" ", "-").upper())}" 1 "" "labrun {_text(__version__)}" "labrun"',
        ".SH NAME",
        f"{_text(name.replace(' ', '-'))} \\- {_text(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(name)}\n{_text(usage)}",
        ".SH DESCRIPTION",
        "\n.PP\n".join(map(_paragraph, [first, *rest])),
    ]
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    own = [param for param in options if is_root or not isinstance(param, GlobalOption)]
    parts += _entries("OPTIONS", [record for param in own if (record := param.get_help_record(ctx))])
    if not is_root:
        parts += ["Options of every command are in", ".BR labrun (1)."]
    inner = _commands(ctx)
    parts += _entries("COMMANDS", [(below, _paragraphs(each.help or "")[0]) for below, each in inner])
    parts += _entries("EXIT STATUS", list(_STATUSES.items()))
    if is_root:
        parts += _entries(
            "FILES", [("lab.yaml", "The lab, in this folder or one above it, unless --lab names one.")]
        )
    beside = sorted({"labrun", *(f"{name} {below}".replace(" ", "-") for below, _ in inner)} - {name})
    if beside:
        parts += [".SH SEE ALSO", ",\n".join(f".BR {_text(page)} (1)" for page in beside)]
    return "\n".join(parts) + "\n"


def _entries(title: str, records: list[tuple[str, str]]) -> list[str]:
    if not records:
        return []
    entries = [f".TP\n.B {_text(term)}\n{_text(' '.join(what.split()))}" for term, what in records]
    return [f".SH {title}", *entries, ".PP"]


def _paragraphs(help_: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", inspect.cleandoc(help_)) if part.strip()] or [""]


def _paragraph(text: str) -> str:
    if not text.startswith(_VERBATIM):
        return _text(" ".join(text.split()))
    lines = text.removeprefix(_VERBATIM).strip("\n").splitlines()
    return "\n".join([".nf", *map(_text, lines), ".fi"])


def _text(text: str) -> str:
    """Return text that roff prints as it is: no escapes, and no request at the begin of a line."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
