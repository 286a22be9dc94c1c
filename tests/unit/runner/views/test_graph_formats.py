"""Each format is what its readers take: XML, dot's and Mermaid's grammar, 80 columns of ASCII."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from labrun.inventory.drawing.diagram import Diagram, Health, diagram
from labrun.runner.commands.graph import writer
from labrun.runner.views.diagram_input import draw
from labrun.runner.views.graph.colours import DARK, LEGEND, LIGHT, Palette
from tests.unit.drawn_labs import every
from tests.unit.small_labs import host, lab, network
from tests.unit.verify_cases import drawn

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a\"]; <b>&\\'#{|}"


def hostile() -> Diagram:
    """Make a diagram whose names are what no lab file would let through."""
    return diagram(lab([network(HOSTILE, "10.0.0.0/24")], [host(HOSTILE, {HOSTILE: "10.0.0.2/24"})]))


def everything() -> dict[str, Diagram]:
    return {**every(), "hostile": hostile()}


@pytest.mark.parametrize("name", everything())
def test_ascii_is_ascii_of_80_columns_at_most(name: str) -> None:
    text = writer("ascii")(everything()[name])
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    for each in everything()[name].hosts:
        assert each.name in text


def test_ascii_of_the_broken_lab() -> None:
    assert writer("ascii")(draw(drawn("broken"))) == (
        "captured\n"
        "verified 2026-11-21 01:29 UTC\n"
        "\n"
        "network1        =+===========+=======================+\n"
        "isolated         |           |                       |\n"
        "10.201.0.0/24    | +-------------------+   +###################+\n"
        "hypervisor       | | host01            |   # host00            #\n"
        "10.201.0.1       | | host, impaired    |   # router, failed    #\n"
        "                 | | 10.201.0.11/24    |   # 10.201.0.254/24   #\n"
        "                 | +-------------------+   # 10.201.128.254/24 #\n"
        "                 |                         +###################+\n"
        "                 |                                   |\n"
        "                 |                                   |\n"
        "                 | +-------------------+             |\n"
        "                 | | host02            |             |\n"
        "                 +-| host, impaired    |             |\n"
        "                   | 10.201.0.12/24    |             |\n"
        "                   +-------------------+             |\n"
        "                                                     |\n"
        "                                                     |\n"
        "network2        =============+=======================+\n"
        "isolated                     |                       ?\n"
        "10.201.128.0/24    +-------------------+   +-------------------+\n"
        "hypervisor         | host03            |   | host04            |\n"
        "10.201.128.1       | host, impaired    |   | host, unreachable |\n"
        "                   | 10.201.128.11/24  |   | 10.201.128.128/24 |\n"
        "                   +-------------------+   +-------------------+\n"
        "\n"
        "impaired: warns, or a path fails because of another host\n"
        "links not drawn as |: ? unreachable\n"
    )


def test_a_drawing_that_is_too_wide_becomes_a_list() -> None:
    name = "h" * 63
    networks = [network("n", "10.0.0.0/24"), network("m", "10.0.1.0/24")]
    both = host(name, {"n": "10.0.0.2/24", "m": "10.0.1.2/24"}, "router")
    text = writer("ascii")(diagram(lab(networks, [both]), hosts={name: Health.FAILED}))
    assert text.splitlines()[3:] == [
        "n (isolated, 10.0.0.0/24, hypervisor 10.0.0.1)",
        f"  +-- {name} router",
        "  |     failed 10.0.0.2/24 (also on m)",
        "",
        "m (isolated, 10.0.1.0/24, hypervisor 10.0.1.1)",
        f"  +-- {name} router",
        "  |     failed 10.0.1.2/24 (also on n)",
        "",
    ]


@pytest.mark.parametrize("name", everything())
def test_svg_has_every_word_and_stands_alone(name: str) -> None:
    found = everything()[name]
    text = writer("svg")(found)
    root = ET.fromstring(text)
    shown = [element.text or "" for element in root.iter(f"{SVG}text")]
    for expected in [*(each.name for each in found.hosts), *(each.name for each in found.networks)]:
        assert expected in shown
    for link in found.links:
        assert set(link.addresses) <= set(shown)
    assert not re.search(r"(href|src|url\(|@import|<script|\bon\w+=)", text)
    assert text.count("://") == 1  # the name of SVG's own namespace


def test_svg_marks_what_verify_found() -> None:
    root = ET.fromstring(writer("svg")(draw(drawn("broken"))))
    found = {
        group.findtext(f"{SVG}text"): (group.find(f"{SVG}rect") or group[1]).get("class")
        for group in root.iter(f"{SVG}g")
        if (group.get("class") or "").startswith("host")
    }
    assert found == {
        "host00": "box failed",
        "host01": "box impaired",
        "host02": "box impaired",
        "host03": "box impaired",
        "host04": "box unreachable",
    }
    words = {element.text for element in root.iter(f"{SVG}text")}
    assert {LEGEND[Health.FAILED], LEGEND[Health.IMPAIRED], LEGEND[Health.UNREACHABLE]} <= words
    assert LEGEND[Health.OK] not in words


def test_drawio_cells_hang_together() -> None:
    for found in everything().values():
        root = ET.fromstring(writer("drawio")(found))
        assert root.tag == "mxfile"
        cells = root.findall("diagram/mxGraphModel/root/mxCell")
        ids = [cell.get("id") for cell in cells]
        assert ids[:2] == ["0", "1"]
        assert len(set(ids)) == len(ids)
        for cell in cells[1:]:
            assert cell.get("parent") in ids
            if cell.get("edge") == "1":
                assert {cell.get("source"), cell.get("target")} <= set(ids)
            if cell.get("vertex") or cell.get("edge"):
                (geometry,) = cell.findall("mxGeometry")
                assert geometry.get("as") == "geometry"
        vertices, edges = (sum(cell.get(kind) == "1" for cell in cells) for kind in ("vertex", "edge"))
        assert (vertices, edges) == (2 * len(found.networks) + len(found.hosts), len(found.links))


QUOTED = r'"(?:[^"\\]|\\.)*"'
DOT_LINE = re.compile(
    rf"graph {QUOTED} {{|}}|  \w+ \[.*\];|  label={QUOTED};|"
    rf"  {QUOTED} \[label={QUOTED}(?:, \w+=(?:\w+|{QUOTED}))*\];|"
    rf"  {QUOTED} -- {QUOTED} \[label={QUOTED}, color={QUOTED}\];"
)


@pytest.mark.parametrize("name", everything())
def test_dot_has_no_line_that_is_no_statement(name: str) -> None:
    for line in writer("dot")(everything()[name]).splitlines():
        assert DOT_LINE.fullmatch(line), line


@pytest.mark.parametrize("name", everything())
@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_it(name: str) -> None:
    found = everything()[name]
    done = subprocess.run(
        ["dot", "-Tplain"],
        input=writer("dot")(found),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    kinds = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert kinds.count("node") == len(found.networks) + len(found.hosts)
    assert kinds.count("edge") == len(found.links)


MERMAID_LABEL = r'"[^"]*"'
MERMAID_LINE = re.compile(
    rf"%% .*|flowchart TB|  n\d+\(\[{MERMAID_LABEL}\]\):::network|"
    rf"  h\d+(?:\[{MERMAID_LABEL}\]|{{{{{MERMAID_LABEL}}}}}):::\w+|  n\d+ ---\|{MERMAID_LABEL}\| h\d+|"
    r"  linkStyle \d+ stroke:#[0-9a-f]{6},stroke-width:2px|  classDef \w+ (?:\w+:#[0-9a-f]{6},?)+"
)


@pytest.mark.parametrize("name", everything())
def test_mermaid_has_no_line_that_is_no_statement(name: str) -> None:
    text = writer("mermaid")(everything()[name])
    for line in text.splitlines():
        assert MERMAID_LINE.fullmatch(line), line
    assert text.count(" ---|") == text.count("linkStyle") == len(everything()[name].links)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_and_lines_be_seen(palette: Palette) -> None:
    assert set(palette.shades) == set(Health)
    for shade in palette.shades.values():
        assert min(contrast(ink, shade.fill) for ink in (palette.ink, palette.faint)) >= 4.5
        assert contrast(shade.line, palette.paper) >= 3
    assert contrast(palette.network, palette.paper) >= 3


def test_links_of_one_host_to_one_network_are_told_apart_by_their_nics() -> None:
    crowd = every()["twins"]
    assert '  n0 ---|"left2<br/>10.0.0.12/24<br/>fd00:1::12/64"| h1\n' in writer("mermaid")(crowd)
    assert '"network left" -- "host h" [label="left2\\n10.0.0.12/24\\nfd00:1::12/64"' in writer("dot")(crowd)
    cells = [each.get("id", "") for each in ET.fromstring(writer("drawio")(crowd)).iter("mxCell")]
    assert {"link-h-left", "link-h-left2", "link-h-left3"} <= set(cells)
    assert len(set(cells)) == len(cells)
    assert "\nleft2: 10.0.0.12/24 fd00:1::12/64\n" in writer("svg")(crowd)
