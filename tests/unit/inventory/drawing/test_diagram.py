"""The drawing's places: everything is there once, and no two words can meet."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.inventory.drawing.diagram import Diagram, Health, diagram
from labrun.inventory.drawing.layout import Drawing, Metrics, lay_out, network_order
from labrun.inventory.file.load import load_lab
from labrun.runner.views.graph.svg import METRICS as PIXELS
from tests.fuzz import examples
from tests.labs import EXAMPLES
from tests.unit.drawn_labs import chain, every, ring, star
from tests.unit.small_labs import host, lab, network

LETTERS = Metrics(char=1, line=1, pad=2, rim=1, gap=3, drop=2, width=80)
Area = tuple[int, int, int, int]


def words(drawing: Drawing, metrics: Metrics) -> list[Area]:
    """Return the area of every line of words: left, top, right, bottom."""
    found = []
    for box in drawing.boxes:
        left, top = box.x + metrics.pad, box.y + metrics.rim
        found += [_area(left, top + n * metrics.line, line, metrics) for n, line in enumerate(box.lines)]
    for bar in drawing.bars:
        found += [_area(0, bar.top + n * metrics.line, line, metrics) for n, line in enumerate(bar.lines)]
    return found


def _area(x: int, y: int, line: str, metrics: Metrics) -> Area:
    return x, y, x + len(line) * metrics.char, y + metrics.line


def meet(one: Area, other: Area) -> bool:
    """Tell whether two areas share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def strokes(drawing: Drawing) -> list[Area]:
    """Return every straight piece of a link as an area without width."""
    found = []
    for wire in drawing.wires:
        for (x1, y1), (x2, y2) in zip(wire.points, wire.points[1:], strict=False):
            found.append((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
    return found


def check(found: Diagram, metrics: Metrics) -> Drawing:
    """Assert what must hold of every drawing."""
    drawing = lay_out(found, metrics)
    assert sorted(box.host.name for box in drawing.boxes) == sorted(each.name for each in found.hosts)
    assert sorted(bar.network.name for bar in drawing.bars) == sorted(each.name for each in found.networks)
    ends = sorted((wire.link.host, wire.link.network) for wire in drawing.wires)
    assert ends == sorted((link.host, link.network) for link in found.links)
    areas = words(drawing, metrics)
    assert not [pair for pair in combinations(areas, 2) if meet(*pair)]
    boxes = {box.host.name: (box.x, box.y, box.x + box.width, box.y + box.height) for box in drawing.boxes}
    assert not [pair for pair in combinations(boxes.values(), 2) if meet(*pair)]
    for area in areas:
        assert min(area) >= 0
        assert (area[2] <= drawing.width, area[3] <= drawing.height) == (True, True)
    for stroke in strokes(drawing):
        assert not [area for area in [*areas, *boxes.values()] if meet(stroke, area)]
    bars = {bar.network.name: bar for bar in drawing.bars}
    for wire in drawing.wires:
        (x, y), *_, (end_x, end_y) = wire.points
        bar, box = bars[wire.link.network], boxes[wire.link.host]
        assert y == bar.y
        assert bar.x <= x <= bar.end
        assert (box[0] <= end_x <= box[2], box[1] <= end_y <= box[3]) == (True, True)
    return drawing


@pytest.mark.parametrize("metrics", [LETTERS, PIXELS], ids=["letters", "pixels"])
@pytest.mark.parametrize("name", every())
def test_no_two_words_meet(name: str, metrics: Metrics) -> None:
    check(every()[name], metrics)


@st.composite
def topologies(draw: st.DrawFn) -> Diagram:
    """Make any wiring of up to 7 networks and 14 hosts."""
    count = draw(st.integers(1, 7))
    networks = [network(f"n{at}", f"10.0.{at}.0/24") for at in range(count)]
    hosts = []
    for number in range(draw(st.integers(0, 14))):
        on = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=4))
        nics = {f"n{at}": f"10.0.{at}.{number + 10}/24" for at in on}
        hosts.append(host(f"h{number}", nics, "router" if len(on) > 1 else "host"))
    return diagram(lab(networks, hosts))


@settings(max_examples=examples(150))
@given(topologies(), st.sampled_from([LETTERS, PIXELS]))
def test_no_two_words_meet_in_any_topology(found: Diagram, metrics: Metrics) -> None:
    check(found, metrics)


@pytest.mark.parametrize("found", [chain(), star(3), ring()], ids=["chain", "star", "ring"])
def test_common_labs_fit_into_80_columns(found: Diagram) -> None:
    assert lay_out(found, LETTERS).width <= 80


def test_a_crowd_on_one_network_is_put_in_several_rows() -> None:
    crowd = [host(f"h{number:03}", {"n": f"10.0.0.{number + 2}/24"}) for number in range(200)]
    drawing = check(diagram(lab([network("n", "10.0.0.0/24")], crowd)), PIXELS)
    assert drawing.width <= PIXELS.width


def test_networks_that_share_a_router_stand_together() -> None:
    assert network_order(chain()) == ["edge1", "core1", "core2", "edge2"]
    parts = diagram(
        lab(
            [network(name, f"10.0.{at}.0/24") for at, name in enumerate("abcd")],
            [
                host("r", {"a": "10.0.0.1/24", "c": "10.0.2.1/24"}, "router"),
                host("s", {"b": "10.0.1.1/24", "d": "10.0.3.1/24"}, "router"),
            ],
        )
    )
    assert network_order(parts) == ["a", "c", "b", "d"]


def test_what_is_drawn_of_the_example() -> None:
    found = diagram(load_lab(EXAMPLES / "kvm-network-lab.yaml"), hosts={"host00": Health.FAILED})
    assert [(each.name, each.mode, each.facts) for each in found.networks] == [
        ("network1", "isolated", ("172.16.0.0/24", "hypervisor 172.16.0.1")),
        ("network2", "isolated", ("172.17.0.0/24", "hypervisor 172.17.0.1")),
    ]
    router = found.hosts[0]
    assert (router.name, router.role, router.health, router.is_router) == (
        "host00",
        "router",
        Health.FAILED,
        True,
    )
    assert [(link.network, link.addresses) for link in router.links] == [
        ("network1", ("172.16.0.254/24",)),
        ("network2", ("172.17.0.254/24",)),
    ]
    assert found.health == {Health.FAILED: 1, Health.UNKNOWN: 4}


def test_a_nat_network_leads_outside() -> None:
    found = diagram(load_lab(EXAMPLES / "nat.yaml"))
    assert found.networks[0].facts[-1] == "leads outside"
