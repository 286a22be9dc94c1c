"""A zsh on a terminal of its own, in which Tab is pressed: what it offers, and what becomes of the line."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tab", "Zsh", "zsh"]

# Each match that is added is noted, and behind Tab a key notes the line and empties it.
_SETUP = r"""
PS1='> '
setopt no_beep
autoload -Uz compinit
compinit -u -D
eval "$(labrun completion zsh)"
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
    local -a found
    builtin compadd -A found "$@"
    (( $#found )) && print -rl -- "${(@)found}" >>$SEEN
    builtin compadd "$@"
}
answer() { print -r -- "line: $BUFFER" >>$SEEN; zle kill-buffer }
zle -N answer
bindkey '^I' complete-word '^X' answer
print -r -- 'line: ready' >>$SEEN
"""
_LOADED = """eval "$(labrun completion zsh)"\n"""
_TAB, _ANSWER = b"\t", b"\x18"
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Tab:
    """What Tab did: the words that were offered, and the line afterwards."""

    offered: tuple[str, ...]
    line: str


class Zsh:
    """An interactive zsh."""

    def __init__(self, terminal: int, seen: Path) -> None:
        self._terminal, self._seen = terminal, seen
        self.screen = b""

    def tab(self, line: str) -> Tab:
        """Type a line and press Tab."""
        return self.answer(line.encode() + _TAB + _ANSWER)

    def answer(self, keys: bytes) -> Tab:
        """Send keys and wait for the line that is noted."""
        self._seen.write_text("", encoding="utf-8")
        os.write(self._terminal, keys)
        deadline = time.monotonic() + _SECONDS
        while True:
            # What zsh draws is taken from it, so that it never waits for a reader.
            with suppress(BlockingIOError):
                self.screen += os.read(self._terminal, 65536)
            *offered, last = self._seen.read_text(encoding="utf-8").splitlines() or [""]
            if last.startswith("line: "):
                return Tab(tuple(offered), last.removeprefix("line: "))
            assert time.monotonic() < deadline, self.screen[-2000:].decode(errors="replace")
            time.sleep(0.02)


@contextmanager
def zsh(folder: Path, env: Mapping[str, str], *, startup: bool = False) -> Iterator[Zsh]:
    """Start zsh in ``folder``; ``labrun`` is on the PATH of ``env``.

    With ``startup`` the folder's own `.zshenv` counts and brings the completion, without it nobody's.
    """
    setup, seen = folder / ".setup", folder / ".seen"
    setup.write_text(_SETUP.replace(_LOADED, "") if startup else _SETUP, encoding="utf-8")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with subprocess.Popen(
        ["zsh", "-i"] if startup else ["zsh", "-f", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**env, "ZDOTDIR": str(folder), "SEEN": str(seen), "TERM": "xterm"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            shell = Zsh(ours, seen)
            assert shell.answer(f"source {setup}\n".encode()).line == "ready"
            yield shell
        finally:
            process.kill()
            os.close(ours)
