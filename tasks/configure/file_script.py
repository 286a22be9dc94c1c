"""The shell text that checks files, installs them, and can restore what was there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labrun.tasks.guest.scripts import assigned, guest_script, quote, words

__all__ = ["FileChange", "apply_changes", "commands_of", "seconds_for", "undo_changes"]

# Backups for the undo: the guest may have to roll back without the controller.
_KEPT = "/var/lib/labrun/files"
# Timeout of each command in the lab file (seconds).
_PATIENCE = 60
# The same during a rollback, which a session may be waiting for (seconds).
_UNDO_PATIENCE = 15

_PUT_BACK = guest_script("files_put_back")
# A candidate is in the directory of its destination, so that a rename installs it, under a hidden name:
# sudoers.d, cron.d and the like skip those.
_APPLY = guest_script("files_apply")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file in its desired state: its content as ``text`` or in ``base64``, and all its attributes.

    ``number`` tells it from the host's other files.
    """

    number: int
    path: str
    text: str | None
    base64: str | None
    mode: str
    owner: str
    group: str
    validate: str | None
    on_change: str | None

    @property
    def typed(self) -> str:
        """Return the command that prints the content, as a person would type it."""
        if self.text is not None:
            word = quote(self.text)
            # Always quoted: `<secret>` may replace it, which a shell would read as redirections.
            return f"printf %s {word if word != self.text else chr(39) + word + chr(39)}"
        return f"printf %s {self.base64} | base64 -d"

    @property
    def directory(self) -> str:
        """Return the directory of the destination."""
        return self.path.rpartition("/")[0] or "/"

    @property
    def candidate(self) -> str:
        """Return the path of the file before it is installed."""
        directory, _, name = self.path.rpartition("/")
        return f"{directory}/.{name}.labrun"

    def validated(self, path: str) -> str:
        """Return the command that checks the file at ``path``, empty if the lab file has none."""
        return (self.validate or "").replace("%s", quote(path))


def apply_changes(changes: Sequence[FileChange]) -> str:
    """Return the script: save what is there, write, check and move each file, then run the commands."""
    values = assigned({"kept": _KEPT, "patience": _PATIENCE})
    lines = [values, _paths(changes), _PUT_BACK, _APPLY]
    lines.extend(f"keep {change.number}\n" for change in changes)
    # A power cut must not leave a copy empty: the undo at the next boot would restore that.
    lines.append('sync "$kept"/*\n')
    lines.extend(_put(change) for change in changes)
    for command, numbers in _after(changes):
        lines.append(f"after {quote(command)} {' '.join(numbers)}\n")
    return "".join([*lines, "exit $bad"])


def undo_changes(changes: Sequence[FileChange]) -> str:
    """Return the script that restores the files; at boot, services read them without a command.

    The commands run once more, so that the services they reload read the old files. The guard then undoes
    their other effects, and whatever they leave running.
    """
    lines = [f"restore {quote(change.path)}\n" for change in changes]
    commands = [command for command, _ in _after(changes)]
    if commands:
        lines += [assigned({"patience": _UNDO_PATIENCE}), guest_script("files_again")]
        lines += [f"again {quote(command)}\n" for command in commands]
    return "".join(lines)


def seconds_for(changes: Sequence[FileChange]) -> int:
    """Return how long the commands of these files may take."""
    checks = sum(change.validate is not None for change in changes)
    return 10 + _PATIENCE * (checks + len(list(_after(changes))))


def _paths(changes: Sequence[FileChange]) -> str:
    cases = "".join(f"{change.number}) p={quote(change.path)};;\n" for change in changes)
    return f"path() {{ case $1 in\n{cases}esac; }}\n"


def _put(change: FileChange) -> str:
    owner, shown = f"{change.owner}:{change.group}", _renaming(change.candidate, change.path)
    content = ("base64", change.base64 or "") if change.text is None else ("text", change.text)
    check = change.validated(change.candidate)
    return f"put {words((str(change.number), change.mode, owner, check, shown, *content))}\n"


def _renaming(candidate: str, path: str) -> str:
    """Return the sed command that replaces the candidate's name with the file's in a message."""
    pattern = re.sub(r"[][\\.*^$#]", r"\\\g<0>", candidate)
    replacement = re.sub(r"[\\&#]", r"\\\g<0>", path)
    return f"s#{pattern}#{replacement}#g"


def _after(changes: Sequence[FileChange]) -> Iterator[tuple[str, list[str]]]:
    """Yield each command that runs after a change, once, with the numbers of its files."""
    commands: dict[str, list[str]] = {}
    for change in changes:
        if change.on_change is not None:
            commands.setdefault(change.on_change, []).append(str(change.number))
    yield from commands.items()


def commands_of(changes: Sequence[FileChange]) -> tuple[str, ...]:
    """Return the commands a person would type."""
    lines = []
    for change in changes:
        path = quote(change.path)
        lines += [f"mkdir -p {quote(change.directory)}"] if change.directory.count("/") > 1 else []
        lines.append(f"{change.typed} > {path}")
        lines += [f"chown {quote(f'{change.owner}:{change.group}')} {path}", f"chmod {change.mode} {path}"]
        lines += [change.validated(change.path)] if change.validate else []
    return (*lines, *(command for command, _ in _after(changes)))
