"""A command's screen as a picture: ``python -m release.screenshot FILE.svg COMMAND...``.

The command runs on a terminal of 80 columns of its own. The picture loads nothing: fonts are the reader's.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

__all__ = ["picture", "screen_of"]

_COLUMNS, _LINES = 80, 40
_BELOW = 28  # units of the picture below the last line
# Readable in the light and the dark: the background is the picture's own.
_THEME = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (230, 237, 243),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (126, 231, 135),
        (242, 204, 96),
        (165, 214, 255),
        (226, 197, 255),
        (179, 240, 255),
        (255, 255, 255),
    ],
)
# As rich's own, without the fonts that it would fetch, the shadow and the buttons of a window.
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} HEIGHT" role="img">
<title>TITLE</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
{styles}
</style>
<rect fill="#161b22" width="{width}" height="HEIGHT" rx="8"/>
<g transform="translate(9, 9)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def screen_of(command: Sequence[str]) -> str:
    """Run a command on a terminal and return what it has printed, colours included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env={**env, "TERM": "xterm-256color"}
    ):
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        os.close(ours)
    return seen.decode(errors="replace").replace("\r\n", "\n")


def picture(typed: str, screen: str) -> str:
    """Return a screen, below the line that was typed, as SVG."""
    console = Console(
        file=StringIO(), record=True, width=_COLUMNS, force_terminal=True, color_system="truecolor"
    )
    console.print(Text.assemble(("$ ", "green"), (typed, "bold")))
    console.print(Text.from_ansi(screen.rstrip("\n")))
    svg = console.export_svg(theme=_THEME, code_format=_FORMAT, unique_id="screen")
    lowest = max(float(y) for y in re.findall(r'<text[^>]* y="([0-9.]+)"', svg))
    svg = svg.replace("HEIGHT", f"{lowest + _BELOW:g}")
    # Every line fits: there is nothing to cut off.
    svg = re.sub(r' clip-path="[^"]*"', "", svg.replace("TITLE", html.escape(typed)))
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the picture of a command: the path, then the command."""
    target, *command = arguments
    typed = " ".join([Path(command[0]).name, *command[1:]])
    Path(target).write_text(picture(typed, screen_of(command)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
