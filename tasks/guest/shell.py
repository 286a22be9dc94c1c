"""Scripts for guests and their output: quoting, atomic file writes, and frames around output.

A frame is a line that begins with a random word, unique to the script, so that no file content or command
output can be mistaken for one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from labrun.bounded import as_integer, require_lines
from labrun.errors import CommandError, UnreadableError
from labrun.tasks.guest.scripts import assigned, function, guest_script, quote

__all__ = [
    "Captured",
    "Facts",
    "Probe",
    "apply_script",
    "gather_script",
    "install",
    "install_word",
    "marker",
    "parse_facts",
    "quote",
    "section",
    "typed_file",
]

_T = TypeVar("_T")
_LARGEST_FILE, _LONGEST_REASON = 1024 * 1024, 4_000
_MOST_FRAMES = 20_000
"""A guest can read the marker in the script, and print more frames than the script does."""
_MADE = 0o666
"""The mode of a file that a shell creates, before its umask."""


def marker() -> str:
    """Return a word that no output can contain by accident or by intent, because it is random."""
    return f"labrun-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a resource wants to read: files (shell patterns) and a script with frames.

    ``patterns`` and ``script`` are shell text: data in them has gone through :func:`quote`. The
    script may call ``frame WORDS…`` and ``capture NAME COMMAND…``. ``after`` are probes that run before
    it, in the same shell and once for all who need them.
    """

    patterns: tuple[str, ...] = ()
    script: str = ""
    after: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class Captured:
    """One command's stdout (``text``), stderr (``error``) and exit status."""

    text: str
    status: int
    error: str = ""

    @property
    def both(self) -> str:
        """Return both streams for a text search, stderr first."""
        return f"{self.error}\n{self.text}" if self.error and self.text else self.error or self.text

    @property
    def last_line(self) -> str:
        """Return the last non-empty line, of stderr if it has any, as a reason for a table."""
        for stream in (self.error, self.text):
            printed = stream.rstrip()
            if printed:
                return printed[max(printed.rfind("\n"), printed.rfind("\r")) + 1 :].strip()[:_LONGEST_REASON]
        return f"exit status {self.status}"


@dataclass(frozen=True, slots=True)
class Facts:
    """The result of one gather: files by path, commands by name, bare words by frame."""

    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    commands: Mapping[str, Captured] = field(default_factory=lambda: MappingProxyType({}))
    words: frozenset[str] = frozenset()
    _parsed: dict[Callable[[Facts], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def once(self, parse: Callable[[Facts], _T]) -> _T:
        """Return ``parse(self)``, the same value for everyone who asks; ``parse`` is a pure function.

        What it raises is not kept: the next caller tries again.
        """
        if parse not in self._parsed:
            self._parsed[parse] = parse(self)
        value: _T = self._parsed[parse]
        return value

    def under(self, directory: str) -> dict[str, str]:
        """Return the files directly in ``directory``: content by base name."""
        prefix = directory.rstrip("/") + "/"
        return {
            path[len(prefix) :]: text
            for path, text in self.files.items()
            if path.startswith(prefix) and "/" not in path[len(prefix) :]
        }

    def word(self, prefix: str) -> str | None:
        """Return the rest of the first bare frame that starts with ``prefix``, None without one."""
        start = prefix + " "
        return next((word[len(start) :] for word in sorted(self.words) if word.startswith(start)), None)

    def lines(self, command: str) -> list[str]:
        """Return the lines that a command of the probes printed, none where it was not run."""
        captured = self.commands.get(command)
        return [] if captured is None else captured.text.splitlines()


def gather_script(probes: Iterable[Probe], mark: str) -> str:
    """Return one script that runs each probe once; it reads all files with a single process."""
    probes = tuple(dict.fromkeys(each for probe in probes for each in (*probe.after, probe)))
    parts = [_beginning(mark)]
    patterns = " ".join(dict.fromkeys(pattern for probe in probes for pattern in probe.patterns))
    if patterns:
        parts.append(guest_script("read_files"))
    parts.append("gathered=$(\n")
    if patterns:
        parts.append(f"read_files {patterns}\n")
    parts.extend(probe.script for probe in probes if probe.script)
    # Written at once: each separate write would cost sshd and the client a packet.
    parts.append("frame end\n)\nprintf '%s\\n' \"$gathered\"\n")
    return "".join(parts)


def _beginning(mark: str) -> str:
    return assigned({"m": mark}) + guest_script("frames")


def _frames(output: str, mark: str) -> Iterator[tuple[str, str]]:
    parts = output.split(f"\n{mark} ", _MOST_FRAMES + 1)
    if len(parts) > _MOST_FRAMES + 1:
        raise UnreadableError(f"more than {_MOST_FRAMES} parts", step="gather")
    for part in parts[1:]:
        head, _, body = part.partition("\n")
        yield head, body


def parse_facts(output: str, mark: str) -> Facts:
    """Parse the output of a gather or apply script.

    A NUL, which no script can put back, becomes U+FFFD. Raises CommandError if the end is missing,
    UnreadableError for output that no script of labrun prints.
    """
    require_lines(output, "gather")
    output = output.replace("\0", "\ufffd")
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    commands: dict[str, Captured] = {}
    words: set[str] = set()
    for head, body in _frames(output, mark):
        kind, _, name = head.partition(" ")
        if kind == "file":
            if len(body) > _LARGEST_FILE:
                raise UnreadableError(f"{len(body)} characters, more than {_LARGEST_FILE}", step=name)
            files[name] = body
        elif kind == "files":
            # awk prints no frame for an empty file; the list of names has it.
            files = {path: files.get(path, "") for path in body.splitlines()}
        elif kind == "out":
            texts[name] = body
        elif kind == "err":
            errors[name] = body
        elif kind == "status":
            name, _, status = name.rpartition(" ")
            ended = as_integer(status, f"status of {name}")
            commands[name] = Captured(texts.pop(name, ""), ended, errors.pop(name, ""))
        else:
            words.add(head)
    if "end" not in words:
        raise CommandError("the script broke off before its end", step="gather")
    return Facts(MappingProxyType(files), MappingProxyType(commands), frozenset(words))


def install(path: str, content: str, mode: str) -> str:
    """Return shell text that atomically installs ``content`` at ``path``, with ``mode`` (``0600``).

    It belongs into an :func:`apply_script`, which defines what it calls. If the file cannot be written
    completely, it stays as it was and the text ends in an error.
    """
    return install_word(path, quote(content), mode)


def install_word(path: str, word: str, mode: str) -> str:
    """Do as :func:`install`, with the value of a shell word (``"$text"``) as the content."""
    bits = int(mode, 8)
    # No extra process if the shell can do it: umask sets the mode, except for executables.
    made = f"{0o777 & ~bits:03o}" if not bits & ~_MADE else f"077 {mode}"
    return f"install_file {quote(path)} {word} {made}\n"


def typed_file(path: str, content: str, mode: str) -> str:
    """Return the command a person would type to put ``content`` at ``path``: a here-document.

    Content without a final newline does not fit in one, and becomes an argument of ``printf``.
    """
    install = f"install -D -m {mode} /dev/stdin {quote(path)}"
    if not content.endswith("\n"):
        return f"printf %s {quote(content)} | {install}"
    end = "EOF"
    while end in content.split("\n"):
        end += "_"
    return f"{install} <<'{end}'\n{content}{end}"


def section(name: str, lines: str) -> str:
    """Return the part of an :func:`apply_script` that runs ``lines`` until the first error.

    Their output is framed as the command ``name``; ``$status`` is then their exit status.
    """
    return f"{function('lines', lines)}section {name}\n"


def apply_script(sections: Sequence[tuple[str, str]], mark: str, *, first: str = "", last: str = "") -> str:
    """Return the script that changes a host, one section after the other, independently of each other.

    It survives the loss of the session: a change that has begun is finished. ``first`` and ``last`` are
    the guard's lines.
    """
    begin = _beginning(mark) + guest_script("section") + guest_script("install_file")
    body = "".join(section(name, lines) for name, lines in sections)
    return f"trap '' HUP PIPE\n{begin}{first}{body}{last}frame end\n"
