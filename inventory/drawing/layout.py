"""The layout of a drawing: networks are horizontal bars, hosts are boxes that hang from them.

Labels never overlap, whatever the topology: hosts stand in columns, a host on several networks keeps its
column free down to the last of them, and text appears only inside boxes and in the left margin.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from labrun.inventory.drawing.diagram import Diagram, DrawnHost, DrawnNetwork, Health, Link

__all__ = ["Bar", "Box", "Drawing", "Metrics", "Wire", "lay_out", "network_order"]

Point = tuple[int, int]
_MARGIN = 16  # characters; a network's label is wrapped to this width


@dataclass(frozen=True, slots=True)
class Metrics:
    """The medium: sizes in its unit (pixels, or characters and lines).

    ``char`` and ``line`` are the size of a character cell, ``pad`` is the left and right padding inside a
    box, ``rim`` the padding at top and bottom. ``gap`` separates columns, ``drop`` a bar from the boxes
    above and below it. ``width`` is the width to keep to if possible.
    """

    char: int
    line: int
    pad: int
    rim: int
    gap: int
    drop: int
    width: int


@dataclass(frozen=True, slots=True)
class Box:
    """A host's box; ``lines`` are its text from top to bottom."""

    host: DrawnHost
    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A network's line from ``x`` to ``end`` at ``y``; its ``lines`` stand left of it, from ``top`` down."""

    network: DrawnNetwork
    x: int
    end: int
    y: int
    top: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """A link's corners from the bar, which it meets in a dot, to the box."""

    link: Link
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A diagram with every element placed."""

    diagram: Diagram
    width: int
    height: int
    boxes: tuple[Box, ...]
    bars: tuple[Bar, ...]
    wires: tuple[Wire, ...]


@dataclass(slots=True)
class _Slot:
    """A host below the bar of ``row``, with links down to the bar of ``last``.

    ``shelf`` counts the boxes above it that hang from the same bar in the same column.
    """

    host: DrawnHost
    row: int
    last: int
    column: int = 0
    shelf: int = 0

    @property
    def rows(self) -> range:
        """Return the rows in which the column is reserved for this host."""
        return range(self.row, max(self.row + 1, self.last))


@dataclass(slots=True)
class _Page:
    """The boxes placed so far."""

    metrics: Metrics
    box_width: int
    lefts: list[int]
    boxes: list[tuple[_Slot, Box]] = field(default_factory=list)

    def hang(self, slots: Sequence[_Slot], top: int) -> int:
        """Place a row's boxes from ``top`` down and return their lower edge."""
        for shelf in range(1 + max((slot.shelf for slot in slots), default=-1)):
            row = [slot for slot in slots if slot.shelf == shelf]
            heights = []
            for slot in row:
                lines = _host_words(slot.host)
                height = len(lines) * self.metrics.line + 2 * self.metrics.rim
                heights.append(height)
                box = Box(slot.host, self.lefts[slot.column], top, self.box_width, height, lines)
                self.boxes.append((slot, box))
            top += max(heights) + self.metrics.drop
        return top - self.metrics.drop if slots else top


def network_order(diagram: Diagram) -> list[str]:
    """Return the networks, those with common hosts close together, starting with the file's first."""
    beside: dict[str, list[str]] = {network.name: [] for network in diagram.networks}
    for host in diagram.hosts:
        names = [link.network for link in host.links]
        for name in names:
            beside[name].extend(other for other in names if other != name)
    order: dict[str, None] = {}
    for start in beside:
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in order:
                order[name] = None
                waiting.extend(reversed(beside[name]))
    return list(order)


def lay_out(diagram: Diagram, metrics: Metrics) -> Drawing:
    """Return the drawing; wider than ``metrics.width`` only if the links do not fit otherwise."""
    order = network_order(diagram)
    networks = {network.name: network for network in diagram.networks}
    words = {name: _network_words(network) for name, network in networks.items()}
    margin = (1 + max((len(line) for lines in words.values() for line in lines), default=0)) * metrics.char
    widest = max((len(line) for host in diagram.hosts for line in _host_words(host)), default=0)
    # Room for the text, and for one link to each network further down.
    most_links = max((len(host.links) for host in diagram.hosts), default=0)
    box_width = max(widest * metrics.char + 2 * metrics.pad, 2 * most_links * metrics.char)
    step = box_width + metrics.gap
    slots = _slots(diagram, order, max(1, (metrics.width - margin) // step))
    count = 1 + max((slot.column for slot in slots), default=0)
    page = _Page(metrics, box_width, [margin + metrics.gap + column * step for column in range(count)])
    bars: dict[str, Bar] = {}
    y = 0
    for row, name in enumerate(order):
        bar = Bar(networks[name], margin, margin, y + metrics.line // 2, y, words[name])
        bars[name] = bar
        below = page.hang([slot for slot in slots if slot.row == row], bar.y + metrics.drop)
        y = max(below, y + len(bar.lines) * metrics.line) + metrics.drop
    y = page.hang([slot for slot in slots if slot.row == len(order)], y) or y
    wires = [wire for slot, box in page.boxes for wire in _wires(slot, box, bars, metrics)]
    stretched = tuple(_stretched(bar, wires, metrics) for bar in bars.values())
    boxes = tuple(box for _, box in page.boxes)
    width = max([margin, *(box.x + box.width for box in boxes), *(bar.end for bar in stretched)])
    bottom = max([*(box.y + box.height for box in boxes), *_label_ends(stretched, metrics)], default=0)
    return Drawing(diagram, width, bottom, boxes, stretched, tuple(wires))


def _label_ends(bars: Sequence[Bar], metrics: Metrics) -> list[int]:
    return [bar.top + len(bar.lines) * metrics.line for bar in bars]


def _network_words(network: DrawnNetwork) -> tuple[str, ...]:
    lines = [network.name]
    for fact in (network.mode, *network.facts):
        lines.extend(textwrap.wrap(fact, _MARGIN, break_long_words=False, break_on_hyphens=False))
    return tuple(lines)


def _host_words(host: DrawnHost) -> tuple[str, ...]:
    state = "" if host.health is Health.UNKNOWN else f", {host.health.value}"
    addresses = [address for link in host.links for address in link.addresses]
    return (host.name, f"{host.role}{state}", *addresses)


def _slots(diagram: Diagram, order: Sequence[str], columns: int) -> list[_Slot]:
    """Assign every host a row and a column; hosts on a single network share columns if there are too few."""
    place = {name: row for row, name in enumerate(order)}
    slots = []
    for host in diagram.hosts:
        rows = [place[link.network] for link in host.links] or [len(order)]
        slots.append(_Slot(host, min(rows), max(rows)))
    leaves = [sum(slot.row == slot.last == row for slot in slots) for row in range(len(order) + 1)]
    taken: set[tuple[int, int]] = set()
    for slot in slots:
        if slot.last > slot.row:
            # Right of the single-network hosts, so that no bar has to cross its links.
            start = min(columns - 1, max(leaves[slot.row : slot.last + 1]))
            slot.column = _free(slot.rows, start, columns, taken)
            taken.update((row, slot.column) for row in slot.rows)
    for row in range(len(order) + 1):
        free = [column for column in range(columns) if (row, column) not in taken]
        usable = free or [_free(range(row, row + 1), 0, columns, taken)]
        for count, slot in enumerate(slot for slot in slots if slot.row == slot.last == row):
            slot.shelf, at = divmod(count, len(usable))
            slot.column = usable[at]
    return slots


def _free(rows: range, start: int, columns: int, taken: set[tuple[int, int]]) -> int:
    """Return a column free in all of these rows: from ``start`` on, then left of it, then beyond."""
    for column in chain(range(start, columns), range(start - 1, -1, -1)):
        if all((row, column) not in taken for row in rows):
            return column
    beyond = columns
    while any((row, beyond) in taken for row in rows):
        beyond += 1
    return beyond


def _wires(slot: _Slot, box: Box, bars: dict[str, Bar], metrics: Metrics) -> list[Wire]:
    links = sorted(slot.host.links, key=lambda link: bars[link.network].y)
    if not links:
        return []
    first = bars[links[0].network].y
    upper = [link for link in links if bars[link.network].y == first]
    lower = links[len(upper) :]
    found = []
    for number, link in enumerate(upper, start=1):
        if slot.shelf:
            beside, middle = box.x - (metrics.gap + 1) // 2, box.y + box.height * number // (len(upper) + 1)
            found.append(Wire(link, ((beside, first), (beside, middle), (box.x, middle))))
        else:
            x = box.x + box.width * number // (len(upper) + 1)
            found.append(Wire(link, ((x, first), (x, box.y))))
    for number, link in enumerate(lower, start=1):
        # The nearest bar gets the leftmost link: it ends at its dot, and links to lower bars pass it.
        x = box.x + box.width * number // (len(lower) + 1)
        found.append(Wire(link, ((x, bars[link.network].y), (x, box.y + box.height))))
    return found


def _stretched(bar: Bar, wires: Sequence[Wire], metrics: Metrics) -> Bar:
    dots = [wire.points[0][0] for wire in wires if wire.link.network == bar.network.name]
    return replace(bar, end=max([bar.x, *dots]) + metrics.gap // 2)
