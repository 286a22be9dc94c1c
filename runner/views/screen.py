"""The screen of `verify` and `drift` on a terminal: hosts by section, who reaches whom, then the causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.scene import Scene
from labrun.runner.cli.terminal import Screen, printable
from labrun.runner.views.cause_text import cause_lines
from labrun.runner.views.columns import cell_width, coloured, folded
from labrun.runner.views.overview import WIDEST, Overview, overview
from labrun.runner.views.status_look import look

__all__ = ["counted", "screen_lines", "title"]

_GAP = "  "
_GRID_SHARE = 3  # the table of hosts gets a third of the screen, if the causes need the rest
_FEWEST_LINES = 4
_SHOWN_ANYWAY = 6  # hosts; of so few, all are shown


def title(scene: Scene, screen: Screen) -> str:
    """Return the first line: ``lab · 5 hosts, 2 networks · lxc:///system``."""
    dot = " \N{MIDDLE DOT} " if screen.encodes("\N{MIDDLE DOT}") else " - "
    hosts, networks = len(scene.hosts), scene.networks
    parts = [f"{hosts} host{'' if hosts == 1 else 's'}, {networks} network{'' if networks == 1 else 's'}"]
    parts = [scene.head] if scene.head else parts
    return dot.join([coloured(scene.lab, "bold", screen), *parts, *([scene.place] if scene.place else [])])


def counted(shown: Overview, seconds: float, *, changes: bool = False) -> str:
    """Return ``95 ok, 9 failed in 6.0 s``; of ``changes``, what was as declared comes last."""
    parts = [f"{shown.counts[status]} {status.value}" for status in Status if shown.counts.get(status)]
    if changes and shown.counts.get(Status.OK):
        parts = [*parts[1:], f"{shown.counts[Status.OK]} already as declared"]
    return f"{', '.join(parts) or 'nothing to report'} in {seconds:.1f} s"


def screen_lines(
    scene: Scene, rows: Sequence[Outcome], screen: Screen, height: int, *, quiet: bool = False
) -> list[str]:
    """Return all lines but the summary, at most ``height``; with ``quiet`` only the causes."""
    shown = overview(scene.hosts, rows, scene.existing)
    if shown.is_well:
        return [] if quiet else [title(scene, screen)]
    head = [] if quiet else [title(scene, screen), ""]
    room = height - len(head)
    grid: list[str] = []
    if not quiet:
        least = _least(shown)
        grid = [*_grid(shown, screen, max(_FEWEST_LINES, room // _GRID_SHARE, room - least - 1)), ""]
    return [*head, *grid, *cause_lines(shown.causes, scene.details, screen, room - len(grid))]


def _least(shown: Overview) -> int:
    """Return how many lines the causes take if there is room for all of each."""
    return 1 + 4 * len(shown.causes)


def _grid(shown: Overview, screen: Screen, height: int) -> Iterator[str]:
    """Yield a line for each host, its pairs at the right; of many, those that need attention."""
    everything = [host for host in shown.hosts if host != HYPERVISOR or shown.needs_attention(host)]
    hosts, hidden = everything, 0
    if len(hosts) > min(WIDEST, max(height - 1, _SHOWN_ANYWAY)):
        hosts = [host for host in hosts if shown.needs_attention(host)]
        hosts = sorted(hosts, key=lambda host: _badness(shown, host))[: height - 2]
        hosts = [host for host in everything if host in set(hosts)]
        hidden = len(everything) - len(hosts)
    name = max([len("host"), *(cell_width(printable(host)) for host in hosts)])
    name = min(name, screen.width // 4)
    widths = {
        column: max(len(column), *(len(_text(shown, host, column)) for host in hosts))
        for column in shown.columns
    }
    left = name + sum(len(_GAP) + width for width in widths.values())
    targets, labels = _targets(shown, hosts, screen.width - left - len("   to: "))
    wide = max(map(len, labels.values()), default=0)
    head = " " * name + "".join(f"{_GAP}{column:<{width}}" for column, width in widths.items())
    if targets:
        head += "   to: " + " ".join(f"{labels[target]:>{wide}}" for target in targets)
    yield coloured(head.rstrip(), "bold", screen)
    for host in hosts:
        line = f"{_cut(printable(host), name):<{name}}"
        for column, width in widths.items():
            text = _text(shown, host, column)
            line += _GAP + _styled(shown, host, column, text, screen) + " " * (width - len(text))
        if targets and host != HYPERVISOR:
            line += "       " + " ".join(_pair(shown, host, target, wide, screen) for target in targets)
        yield line.rstrip()
    if hidden:
        fine = sum(not shown.needs_attention(host) for host in everything)
        parts = [f"{fine} host{' is' if fine == 1 else 's are'} as declared"] if fine else []
        more = hidden - fine
        parts += [f"{more} more need{'s' if more == 1 else ''} attention"] if more > 0 else []
        yield coloured(f"{' and '.join(parts)}; pairs: only with a failure", "dim", screen)
    elif targets and len(targets) < len(shown.hosts) - (HYPERVISOR in shown.hosts):
        yield coloured("pairs: only with a failure", "dim", screen)


def _badness(shown: Overview, host: str) -> tuple[int, int]:
    cells = [cell for (name, _), cell in shown.cells.items() if name == host]
    return min(look(cell.status).rank for cell in cells), -sum(cell.bad for cell in cells)


def _text(shown: Overview, host: str, column: str) -> str:
    cell = shown.cells.get((host, column))
    return cell.text if cell is not None else look(Status.SKIPPED).sign


def _styled(shown: Overview, host: str, column: str, text: str, screen: Screen) -> str:
    cell = shown.cells.get((host, column))
    return coloured(text, look(cell.status).style, screen) if cell is not None and cell.bad else text


def _targets(shown: Overview, hosts: Sequence[str], room: int) -> tuple[list[str], dict[str, str]]:
    """Return the hosts that are columns of the matrix, and a short name for each."""
    targets = list(dict.fromkeys(host for host in shown.hosts if host != HYPERVISOR))
    if not shown.pairs:
        return [], {}
    labels = _short_names(targets)
    wide = max(map(len, labels.values())) + 1
    if len(targets) > WIDEST or wide * len(targets) > room:
        bad = {to for (host, to), status in shown.pairs.items() if host in hosts and not look(status).is_good}
        targets = [target for target in targets if target in bad][: max(room // wide, 0)]
    return targets, labels


def _short_names(hosts: Sequence[str]) -> dict[str, str]:
    """Return what tells the hosts apart: their names without a common start, or their numbers."""
    common = 0
    while len({host[: common + 1] for host in hosts}) == 1 and all(len(host) > common + 1 for host in hosts):
        common += 1
    short = {host: host[common:] for host in hosts}
    if len(hosts) > 1 and max(map(len, short.values())) <= len(str(len(hosts))) + 1:
        return short
    return {host: str(number) for number, host in enumerate(hosts, 1)}


def _pair(shown: Overview, host: str, target: str, width: int, screen: Screen) -> str:
    if host == target:
        return f"{'':>{width}}"
    status = shown.pairs.get((host, target), Status.SKIPPED)
    sign = look(status).sign
    style = "" if look(status).is_good else look(status).style
    return " " * (width - 1) + coloured(sign, style, screen)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else folded(text, width - 1)[0] + "~"
