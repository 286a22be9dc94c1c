"""`labrun graph`: the network diagram, coloured by the last verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labrun.runner.cli.formats import format_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.drawing.diagram import Diagram

_FORMATS = ("ascii", "svg", "mermaid", "dot", "drawio")
_ENDINGS = {
    ".svg": "svg",
    ".mmd": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".drawio": "drawio",
    ".txt": "ascii",
}


@verb("graph", own_format=True)
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="Diagram format; by default that of FILE's ending, else ascii.",
)
@click.option(
    "--output",
    "-o",
    type=OutputFile(),
    metavar="FILE",
    help="Write to this file instead of stdout.",
)
def command(invocation: Invocation, kind: str | None, output: Path | None) -> Report:
    """Draw networks, hosts, addresses and roles, coloured by the last verify.

    Queries no host. Before the first verify, everything is drawn as not verified.
    """
    from labrun.runner.views.diagram_input import draw, drawn_lab

    format_ = format_of(output, kind, _ENDINGS, "ascii")
    drawn = drawn_lab(invocation)
    text = writer(format_)(draw(drawn))
    if output is None or is_stdout(output):
        return Report(drawn.lab.name, text=text)
    write_output(output, text)
    return Report(drawn.lab.name, text=f"wrote {output}\n")


def writer(kind: str) -> Callable[[Diagram], str]:
    """Return the function that renders a diagram as text. Its module is imported only now."""
    if kind == "ascii":
        from labrun.runner.views.graph.ascii import ascii_graph

        return ascii_graph
    if kind == "svg":
        from labrun.runner.views.graph.svg import svg_graph

        return svg_graph
    if kind == "drawio":
        from labrun.runner.views.graph.drawio import drawio_graph

        return drawio_graph
    from labrun.runner.views.graph.text import dot_graph, mermaid_graph

    return mermaid_graph if kind == "mermaid" else dot_graph
