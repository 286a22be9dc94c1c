"""`labrun init`: begin with a lab file, from a template or from another tool's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labrun.errors import LabrunError, UsageError
from labrun.inventory.file.problems import did_you_mean
from labrun.inventory.file.source import FILE_NAME
from labrun.inventory.starting.templates import DEFAULT, TEMPLATES, from_template
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import lab_path
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import say
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.starting.importing import Imported
    from labrun.json_values import JsonObject

__all__ = ["command"]

_MOST_SAID = 40


def _complete_template(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in TEMPLATES if name.startswith(incomplete)]


@verb("init")
@click.option(
    "--template",
    metavar="NAME",
    shell_complete=_complete_template,
    help=f"Begin with this template; by default {DEFAULT}.",
)
@click.option(
    "--from",
    "origin",
    metavar="FILE|URI",
    help="Begin with another tool's lab: a containerlab or netlab topology, a Vagrantfile, Kathara's"
    " lab.conf, or the domains of a libvirt URI.",
)
@click.option("--list", "listed", is_flag=True, help="List the templates, and write nothing.")
def command(invocation: Invocation, template: str | None, origin: str | None, listed: bool) -> Report:
    """Write a commented lab.yaml here, from a template or from another tool's file.

    An existing file is never overwritten. --lab names another file; - is standard output. The lab is named
    after the folder. What --from cannot take over is listed in the file and on stderr; nothing of the other
    tool's file is run.
    """
    if template is not None and origin is not None:
        raise UsageError("--template and --from exclude each other", hint="leave one of them out")
    if listed:
        width = max(map(len, TEMPLATES))
        text = "".join(f"{name:{width}}  {line}\n" for name, line in TEMPLATES.items())
        return Report(text=text, extra={"templates": dict(TEMPLATES)})
    if template is not None and template not in TEMPLATES:
        hint = did_you_mean(template, TEMPLATES) or f"there are {', '.join(TEMPLATES)}"
        raise UsageError(f'no template is called "{template}"', step="--template", hint=hint)
    target = Path(lab_path(invocation.lab) if invocation.lab is not None else FILE_NAME)
    to_stdout = str(target) == "-"
    if not to_stdout and os.path.lexists(target):
        raise _exists(target)
    name = (Path.cwd() if to_stdout else target.absolute().parent).name
    members: JsonObject = {"file": None if to_stdout else str(target.absolute())}
    if origin is None:
        chosen = template or DEFAULT
        text, made = from_template(chosen, name), f"from the template {chosen}"
        members = {**members, "template": chosen}
    else:
        imported = _imported(origin, name)
        text, made = imported.text, f"from {origin}, {imported.kind}"
        _say_left_out(origin, imported.left_out)
        members = {**members, "from": origin, "kind": imported.kind, "left_out": list(imported.left_out)}
    if to_stdout:
        return Report(text=text, extra={**members, "text": text})
    _create(target, text)
    where = "" if str(target) == FILE_NAME else f"--lab {target} "
    # Existing machines are not brought up; the template has to be filled in first.
    following = "fill it in, then labrun {}verify" if template == "existing" else "labrun {}up"
    text = f"wrote {target} {made}\nnext: {following.format(where)}\n"
    return Report(text="" if invocation.quiet else text, extra=members)


def _imported(origin: str, name: str) -> Imported:
    from labrun.inventory.starting.importing import from_draft, from_file, is_uri

    if not is_uri(origin):
        return from_file(Path(origin), name=name)
    from labrun.inventory.starting.libvirt_xml import read_libvirt
    from labrun.tasks.provision.described import described

    domains, networks = described(origin)
    return from_draft(read_libvirt(origin, domains, networks), name=name)


def _say_left_out(origin: str, left_out: tuple[str, ...]) -> None:
    for line in left_out[:_MOST_SAID]:
        say(f"{origin}: not taken over: {line}")
    if len(left_out) > _MOST_SAID:
        say(f"{origin}: not taken over: {len(left_out) - _MOST_SAID} more, listed in the file")


def _exists(target: Path) -> UsageError:
    return UsageError(
        f"{target} exists, and init never overwrites a file",
        hint="--lab FILE writes another one, --lab - to stdout",
    )


def _create(target: Path, text: str) -> None:
    """Write a new file. Raises UsageError if something has its name, LabrunError if it cannot be written."""
    try:
        # Exclusive, so that neither another process nor a link can make it overwrite anything.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise LabrunError(f"cannot write {target}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise LabrunError(f"cannot write {target}: {error.strerror}") from error
