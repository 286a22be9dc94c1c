"""The drawing for tools with automatic layout: Mermaid and Graphviz' dot."""

from __future__ import annotations

import re

from labrun.inventory.drawing.diagram import Diagram, DrawnHost, DrawnNetwork, Health
from labrun.runner.views.graph.colours import LIGHT

__all__ = ["dot_graph", "mermaid_graph"]


def _network_lines(network: DrawnNetwork) -> list[str]:
    return [network.name, network.mode, *network.facts]


def _host_lines(host: DrawnHost) -> list[str]:
    state = [] if host.health is Health.UNKNOWN else [host.health.value]
    return [host.name, ", ".join([host.role, *state])]


def mermaid_graph(diagram: Diagram) -> str:
    """Return a Mermaid flowchart, which GitHub renders in a ``mermaid`` code block."""
    networks = {network.name: f"n{number}" for number, network in enumerate(diagram.networks)}
    lines = [f"%% {_one_line(diagram.lab)}: {diagram.verified or 'no verify yet'}", "flowchart TB"]
    for network in diagram.networks:
        lines.append(f"  {networks[network.name]}([{_mermaid(_network_lines(network))}]):::network")
    styles = []
    for number, host in enumerate(diagram.hosts):
        left, right = ("{{", "}}") if host.is_router else ("[", "]")
        lines.append(f"  h{number}{left}{_mermaid(_host_lines(host))}{right}:::{host.health}")
        for link in host.links:
            lines.append(f"  {networks[link.network]} ---|{_mermaid(list(link.lines))}| h{number}")
            styles.append(f"stroke:{LIGHT.shades[link.health].line},stroke-width:2px")
    lines.extend(f"  linkStyle {number} {style}" for number, style in enumerate(styles))
    for health, shade in LIGHT.shades.items():
        lines.append(f"  classDef {health} fill:{shade.fill},stroke:{shade.line},color:{LIGHT.ink}")
    lines.append(f"  classDef network fill:{LIGHT.paper},stroke:{LIGHT.network},color:{LIGHT.ink}")
    return "\n".join(lines) + "\n"


def _mermaid(lines: list[str]) -> str:
    # Mermaid uses its own entities instead of backslash escapes.
    escaped = (re.sub(r'[#&"<>`;]', lambda match: f"#{ord(match[0])};", line) for line in lines)
    return '"' + "<br/>".join(escaped) + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split())


def dot_graph(diagram: Diagram) -> str:
    """Return a graph in Graphviz' dot language."""
    lines = [
        f"graph {_dot([diagram.lab])} {{",
        "  graph [labelloc=t, nodesep=0.4, ranksep=0.7];",
        f"  label={_dot([diagram.lab, diagram.verified or 'no verify yet'])};",
        '  node [fontname="monospace", fontsize=11, style=filled];',
        '  edge [fontname="monospace", fontsize=9];',
    ]
    for network in diagram.networks:
        style = f'shape=box, style="rounded,filled", fillcolor="{LIGHT.paper}", color="{LIGHT.network}"'
        label = _dot(_network_lines(network))
        lines.append(f"  {_dot([f'network {network.name}'])} [label={label}, {style}];")
    for host in diagram.hosts:
        shade = LIGHT.shades[host.health]
        shape = "octagon" if host.is_router else "box"
        style = f'shape={shape}, fillcolor="{shade.fill}", color="{shade.line}"'
        lines.append(f"  {_dot([f'host {host.name}'])} [label={_dot(_host_lines(host))}, {style}];")
    for link in diagram.links:
        ends = f"{_dot([f'network {link.network}'])} -- {_dot([f'host {link.host}'])}"
        colour = LIGHT.shades[link.health].line
        lines.append(f'  {ends} [label={_dot(list(link.lines))}, color="{colour}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _dot(lines: list[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
