"""The drawing for a terminal: plain ASCII, 80 columns, or a list of networks if it would be wider."""

from __future__ import annotations

import textwrap

from labrun.inventory.drawing.diagram import Diagram, DrawnHost, DrawnNetwork, Health
from labrun.inventory.drawing.layout import Bar, Box, Drawing, Metrics, Wire, lay_out

__all__ = ["ascii_graph"]

WIDTH = 80
_METRICS = Metrics(char=1, line=1, pad=2, rim=1, gap=3, drop=2, width=WIDTH)
_LINKS = {Health.IMPAIRED: "~", Health.UNREACHABLE: "?", Health.FAILED: "X"}


def ascii_graph(diagram: Diagram) -> str:
    """Return the drawing as lines of at most 80 characters."""
    drawing = lay_out(diagram, _METRICS)
    fits = drawing.width <= WIDTH
    body = _Canvas(drawing).lines() if fits else _listed(diagram)
    return "\n".join([*_heading(diagram), "", *body, *_legend(diagram, drawn=fits)]) + "\n"


def _heading(diagram: Diagram) -> list[str]:
    return [diagram.lab, diagram.verified or "no verify yet"]


def _legend(diagram: Diagram, *, drawn: bool) -> list[str]:
    lines = []
    if Health.IMPAIRED in diagram.health:
        lines.append("impaired: warns, or a path fails because of another host")
    bad = {link.health for link in diagram.links} & set(_LINKS)
    if bad and drawn:
        marks = ", ".join(f"{mark} {health.value}" for health, mark in _LINKS.items() if health in bad)
        lines.append(f"links not drawn as |: {marks}")
    return ["", *lines] if lines else []


class _Canvas:
    """A grid of characters; later drawing covers earlier."""

    def __init__(self, drawing: Drawing) -> None:
        self._rows = [[" "] * drawing.width for _ in range(drawing.height)]
        for bar in drawing.bars:
            self._bar(bar)
        for wire in drawing.wires:
            self._wire(wire)
        for box in drawing.boxes:
            self._box(box)

    def lines(self) -> list[str]:
        """Return the lines without trailing blanks."""
        return ["".join(row).rstrip() for row in self._rows]

    def _write(self, x: int, y: int, text: str) -> None:
        for place, letter in enumerate(text, start=x):
            self._rows[y][place] = letter

    def _bar(self, bar: Bar) -> None:
        self._write(bar.x, bar.y, "=" * (bar.end - bar.x))
        for number, line in enumerate(bar.lines):
            self._write(0, bar.top + number, line)

    def _wire(self, wire: Wire) -> None:
        down = _LINKS.get(wire.link.health, "|")
        (x, bar), *corners = wire.points
        end = corners[0][1]
        for y in range(min(bar + 1, end), max(bar, end)):
            if self._rows[y][x] != "+":  # where a link to another box branches off this one
                self._write(x, y, down)
        self._write(x, bar, "+")
        if len(corners) > 1:
            self._write(x, end, "+" + "-" * (corners[1][0] - x - 1))

    def _box(self, box: Box) -> None:
        edge = "#" if box.host.is_router else "-"
        side = "#" if box.host.is_router else "|"
        self._write(box.x, box.y, f"+{edge * (box.width - 2)}+")
        for number, line in enumerate(box.lines, start=1):
            self._write(box.x, box.y + number, f"{side} {line:<{box.width - 4}} {side}")
        self._write(box.x, box.y + box.height - 1, f"+{edge * (box.width - 2)}+")


def _listed(diagram: Diagram) -> list[str]:
    """Return each network with its hosts. A host on several networks is listed under each."""
    lines: list[str] = []
    for network in diagram.networks:
        lines.extend(_network_lines(network))
        for host in diagram.hosts:
            lines.extend(_member_lines(host, network.name))
        lines.append("")
    alone = [host.name for host in diagram.hosts if not host.links]
    return [*lines, *(["on no network: " + ", ".join(alone)] if alone else [])]


def _network_lines(network: DrawnNetwork) -> list[str]:
    return _wrapped(f"{network.name} ({', '.join([network.mode, *network.facts])})", "    ")


def _member_lines(host: DrawnHost, network: str) -> list[str]:
    lines = []
    for link in host.links:
        if link.network == network:
            state = "" if host.health is Health.UNKNOWN else f" {host.health.value}"
            also = dict.fromkeys(other.network for other in host.links if other.network != network)
            on = f" (also on {', '.join(also)})" if also else ""
            text = f"  +-- {host.name} {host.role}{state} {' '.join(link.lines)}{on}"
            lines += _wrapped(text, "  |     ")
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
