"""The drawing as SVG: one element for a file of its own or for a page, with light and dark colours."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

from labrun.inventory.drawing.diagram import Diagram, Health
from labrun.inventory.drawing.layout import Bar, Box, Drawing, Metrics, Wire, lay_out
from labrun.runner.views.graph.colours import DARK, LEGEND, LIGHT, Palette

__all__ = ["METRICS", "svg_element", "svg_graph"]

# A monospaced character is 0.6 of its size wide, with some margin 0.62: at 13 px that is 8.
METRICS = Metrics(char=8, line=18, pad=12, rim=9, gap=28, drop=26, width=1100)
_EDGE = 20
_HEAD = 64
_ROW = 24
_HALO = 6  # distance from its dot at which a link begins to push crossing lines away
_FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def svg_graph(diagram: Diagram) -> str:
    """Return the drawing as an SVG file."""
    return ET.tostring(svg_element(diagram), encoding="unicode") + "\n"


def svg_element(diagram: Diagram, *, alone: bool = True) -> ET.Element:
    """Return the drawing as an ``svg`` element with its own style sheet.

    Without ``alone``, the surrounding page shows the name, the time of the verify and the legend.
    """
    drawing = lay_out(diagram, METRICS)
    top = _HEAD if alone else _EDGE
    states = [health for health in LEGEND if health in diagram.health and alone]
    titles = [diagram.lab, diagram.verified or "no verify yet"] if alone else []
    words = [*titles, *(f"    {LEGEND[health]}" for health in states)]
    width = max([drawing.width, *(len(text) * (METRICS.char + 1) for text in words)]) + 2 * _EDGE
    below = _EDGE + len(states) * _ROW if alone else 0
    height = top + drawing.height + below + 2 * _EDGE
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "class": "lab",
            "role": "img",
            "aria-label": f"Diagram of the lab {diagram.lab}",
        },
    )
    ET.SubElement(root, "style").text = _style()
    ET.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    for text, y, kind in zip(titles, (16, 36), ("lab-name", "faint"), strict=False):
        _text(root, _EDGE, _EDGE + y, text, kind)
    inner = ET.SubElement(root, "g", {"transform": f"translate({_EDGE} {top + _EDGE // 2})"})
    inner.extend(_parts(drawing))
    for number, health in enumerate(states):
        _legend(root, top + 2 * _EDGE + drawing.height + number * _ROW, health)
    return root


def _parts(drawing: Drawing) -> Iterator[ET.Element]:
    for bar in drawing.bars:
        yield _bar(bar)
    for wire in drawing.wires:
        yield from _wire(wire)
    for wire in drawing.wires:
        (x, y), *_ = wire.points
        yield ET.Element("circle", {"class": f"dot {wire.link.health}", "cx": str(x), "cy": str(y), "r": "4"})
    for box in drawing.boxes:
        yield _box(box)


def _bar(bar: Bar) -> ET.Element:
    group = ET.Element("g", {"class": "network"})
    line = {"x1": bar.x, "y1": bar.y, "x2": bar.end, "y2": bar.y}
    ET.SubElement(group, "line", {"class": "bar", **{key: str(value) for key, value in line.items()}})
    for number, text in enumerate(bar.lines):
        baseline = bar.top + number * METRICS.line + METRICS.line // 2 + 5
        _text(group, 0, baseline, text, "faint" if number else "name")
    return group


def _wire(wire: Wire) -> Iterator[ET.Element]:
    (x, bar), (_, second), *_ = wire.points
    if second < bar:  # only a link that comes down to its bar can have crossed another one
        yield _line("halo", ((x, bar - _HALO), *wire.points[1:]))
    yield _line(f"wire {wire.link.health}", wire.points)


def _line(kind: str, points: Sequence[tuple[int, int]]) -> ET.Element:
    corners = " ".join(f"{across},{down}" for across, down in points)
    return ET.Element("polyline", {"class": kind, "points": corners})


def _box(box: Box) -> ET.Element:
    group = ET.Element("g", {"class": f"host {box.host.role}"})
    ET.SubElement(group, "title").text = "\n".join(
        [
            box.lines[0],
            box.lines[1],
            *(f"{link.name}: {' '.join(link.addresses)}" for link in box.host.links),
        ]
    )
    frame = {
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "rx": 2 if box.host.is_router else 8,
    }
    attributes = {key: str(value) for key, value in frame.items()}
    ET.SubElement(group, "rect", {"class": f"box {box.host.health}", **attributes})
    for number, text in enumerate(box.lines):
        baseline = box.y + METRICS.rim + number * METRICS.line + 13
        _text(group, box.x + METRICS.pad, baseline, text, "name" if number == 0 else "faint")
    return group


def _legend(root: ET.Element, y: int, health: Health) -> None:
    frame = {"x": _EDGE, "y": y, "width": 22, "height": 14, "rx": 3}
    attributes = {key: str(value) for key, value in frame.items()}
    ET.SubElement(root, "rect", {"class": f"box {health}", **attributes})
    _text(root, _EDGE + 32, y + 12, LEGEND[health], "faint")


def _text(parent: ET.Element, x: int, y: int, text: str, kind: str) -> None:
    ET.SubElement(parent, "text", {"class": kind, "x": str(x), "y": str(y)}).text = text


def _style() -> str:
    fixed = (
        f"svg.lab {{font: 13px {_FONT}}} "
        "svg.lab .name, svg.lab .lab-name {font-weight: 600} svg.lab .lab-name {font-size: 17px} "
        "svg.lab .bar {stroke-width: 4; stroke-linecap: round} "
        "svg.lab .wire, svg.lab .halo {fill: none; stroke-width: 2} svg.lab .halo {stroke-width: 8} "
        "svg.lab .box {stroke-width: 1.5} svg.lab .router .box {stroke-width: 3} "
        "svg.lab .unreachable {stroke-dasharray: 5 4} svg.lab .dot {stroke-dasharray: none} "
    )
    return f"{fixed}{_colours(LIGHT)}@media (prefers-color-scheme: dark) {{{_colours(DARK)}}}"


def _colours(palette: Palette) -> str:
    rules = [
        f".paper {{fill: {palette.paper}}}",
        f".halo {{stroke: {palette.paper}}}",
        f".bar {{stroke: {palette.network}}}",
        f"text {{fill: {palette.ink}}}",
        f".faint {{fill: {palette.faint}}}",
    ]
    for health, shade in palette.shades.items():
        rules.append(f".box.{health} {{fill: {shade.fill}; stroke: {shade.line}}}")
        rules.append(f".wire.{health} {{stroke: {shade.line}}}")
        rules.append(f".dot.{health} {{fill: {shade.line}}}")
    return " ".join(f"svg.lab {rule}" for rule in rules) + " "
