"""The drawing as a draw.io (diagrams.net) file, with the layout of the SVG, to be rearranged there."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from labrun.inventory.drawing.diagram import Diagram
from labrun.inventory.drawing.layout import Bar, Box, Wire, lay_out
from labrun.runner.views.graph.colours import LIGHT
from labrun.runner.views.graph.svg import METRICS

__all__ = ["drawio_graph"]

_THICK = 4
_PAGE = "1"  # draw.io reserves cells 0, the root, and 1, the layer that holds everything
_LETTERS = "fontFamily=monospace;fontSize=13;"


def drawio_graph(diagram: Diagram) -> str:
    """Return an uncompressed ``mxfile``."""
    drawing = lay_out(diagram, METRICS)
    file = ET.Element("mxfile", {"host": "labrun"})
    page = ET.SubElement(file, "diagram", {"id": "lab", "name": diagram.lab})
    model = ET.SubElement(page, "mxGraphModel", {"grid": "1", "page": "0"})
    root = ET.SubElement(model, "root")
    ET.SubElement(root, "mxCell", {"id": "0"})
    ET.SubElement(root, "mxCell", {"id": _PAGE, "parent": "0"})
    bars = {bar.network.name: bar for bar in drawing.bars}
    boxes = {box.host.name: box for box in drawing.boxes}
    for bar in drawing.bars:
        _bar(root, bar)
    for box in drawing.boxes:
        _box(root, box)
    for wire in drawing.wires:
        _wire(root, wire, bars[wire.link.network], boxes[wire.link.host])
    ET.indent(file)
    return ET.tostring(file, encoding="unicode") + "\n"


def _vertex(root: ET.Element, name: str, text: str, style: str, place: tuple[int, int, int, int]) -> None:
    cell = ET.SubElement(
        root, "mxCell", {"id": name, "parent": _PAGE, "vertex": "1", "value": text, "style": style}
    )
    size = dict(zip(("x", "y", "width", "height"), map(str, place), strict=True))
    ET.SubElement(cell, "mxGeometry", {**size, "as": "geometry"})


def _bar(root: ET.Element, bar: Bar) -> None:
    place = (bar.x, bar.y - _THICK // 2, bar.end - bar.x, _THICK)
    _vertex(root, f"network-{bar.network.name}", "", f"fillColor={LIGHT.network};strokeColor=none;", place)
    words = f"text;html=0;align=left;verticalAlign=top;fontColor={LIGHT.faint};{_LETTERS}"
    place = (0, bar.top, bar.x, len(bar.lines) * METRICS.line)
    _vertex(root, f"label-{bar.network.name}", "\n".join(bar.lines), words, place)


def _box(root: ET.Element, box: Box) -> None:
    shade = LIGHT.shades[box.host.health]
    style = (
        f"rounded={0 if box.host.is_router else 1};html=0;whiteSpace=wrap;align=left;spacingLeft=8;"
        f"arcSize=12;strokeWidth={3 if box.host.is_router else 1};fontColor={LIGHT.ink};{_LETTERS}"
        f"fillColor={shade.fill};strokeColor={shade.line};"
    )
    place = (box.x, box.y, box.width, box.height)
    _vertex(root, f"host-{box.host.name}", "\n".join(box.lines), style, place)


def _wire(root: ET.Element, wire: Wire, bar: Bar, box: Box) -> None:
    start, *corners, end = wire.points
    leaves = (_share(start[0] - bar.x, bar.end - bar.x), 0.5)
    enters = (_share(end[0] - box.x, box.width), _share(end[1] - box.y, box.height))
    style = (
        f"endArrow=none;html=0;rounded=0;strokeWidth=2;strokeColor={LIGHT.shades[wire.link.health].line};"
        f"exitX={leaves[0]};exitY={leaves[1]};exitPerimeter=0;"
        f"entryX={enters[0]};entryY={enters[1]};entryPerimeter=0;"
    )
    cell = ET.SubElement(
        root,
        "mxCell",
        {
            "id": f"link-{wire.link.host}-{wire.link.name}",
            "parent": _PAGE,
            "edge": "1",
            "source": f"network-{wire.link.network}",
            "target": f"host-{wire.link.host}",
            "style": style,
        },
    )
    geometry = ET.SubElement(cell, "mxGeometry", {"relative": "1", "as": "geometry"})
    if corners:
        points = ET.SubElement(geometry, "Array", {"as": "points"})
        for x, y in corners:
            ET.SubElement(points, "mxPoint", {"x": str(x), "y": str(y)})


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
