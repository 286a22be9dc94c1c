"""Present results: a table for the terminal, Markdown for the record, JSON to compare with later runs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured, Result
from benchmarks.peer_tools import versions

__all__ = ["as_markdown", "as_table", "write_json"]

_HEAD = ("what", "who", "wall s (min-max)", "CPU s", "MiB", "x", "goal", "load")


def _figures(measured: Measured) -> tuple[str, str, str]:
    low, high = min(measured.walls), max(measured.walls)
    memory = "" if measured.mebibytes is None else f"{measured.mebibytes:.0f}"
    cpu = f"{measured.cpu:.2f}" + (f" + {measured.guests:.2f}" if measured.guests else "")
    return f"{measured.wall:.2f} ({low:.2f}-{high:.2f})", cpu, memory


def _goal(result: Result) -> str:
    case, words = result.case, []
    if case.factor is not None and result.ratio is not None:
        words.append(_verdict(f"<= {case.factor:.3g} x", result.ratio <= case.factor))
    if case.cpu_factor is not None and result.cpu_ratio is not None:
        goal = f"CPU <= {case.cpu_factor:g} x"
        words.append(f"{_verdict(goal, result.cpu_ratio <= case.cpu_factor)} ({result.cpu_ratio:.2f})")
    if case.seconds is not None:
        words.append(_verdict(f"< {case.seconds:g} s", result.ours.wall < case.seconds))
    if case.mebibytes is not None and result.ours.mebibytes is not None:
        words.append(_verdict(f"< {case.mebibytes:g} MiB", result.ours.mebibytes < case.mebibytes))
    return ", ".join(words)


def _verdict(goal: str, reached: bool) -> str:
    return f"{goal} {'reached' if reached else 'MISSED'}"


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.{2 if result.ratio >= 0.1 else 3}f}"
        load = f"{result.load:.1f}"
        rows.append((result.case.name, "labrun", *_figures(result.ours), ratio, _goal(result), load))
        if result.case.other is not None:
            rows.append(("", result.case.against, *_figures(result.other), "1", "", ""))
    return rows


def as_table(results: Sequence[Result]) -> str:
    """Return the results in columns."""
    rows = [_HEAD, *_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_markdown(results: Sequence[Result], repeat: int) -> str:
    """Return the results as a page for ``benchmarks/results``, including the machine they come from."""
    about = machine()
    lines = [f"# {time.strftime('%F')}", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [f"- repetitions: {repeat}, in turns; medians; x = median of the rounds' ratios", ""]
    lines += ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(results)]
    return "\n".join(lines) + "\n"


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def machine() -> dict[str, str]:
    """Return the factors behind the figures: processor, memory, versions."""
    processor = memory = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemTotal"):
            memory = f"{int(line.split()[1]) // 1024} MiB"
    return {
        "processor": f"{os.cpu_count()} x {processor}",
        "memory": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libvirt": _first_line("virsh", "--version"),
        "openssh": _first_line("ssh", "-V"),
        **versions(),
    }


def _numbers(measured: Measured) -> dict[str, Any]:
    return {
        "wall": [round(sample.wall, 4) for sample in measured.samples],
        "cpu": [round(sample.cpu, 4) for sample in measured.samples],
        "guests": [round(sample.guests, 4) for sample in measured.samples],
        "mebibytes": None if measured.mebibytes is None else round(measured.mebibytes, 1),
    }


def write_json(path: Path, results: Sequence[Result], repeat: int) -> None:
    """Write every single figure to ``path``."""
    cases = [
        {
            "name": result.case.name,
            "against": result.case.against or None,
            "load": round(result.load, 2),
            "ratio": None if result.ratio is None else round(result.ratio, 3),
            "labrun": _numbers(result.ours),
            "other": _numbers(result.other) if result.case.other is not None else None,
        }
        for result in results
    ]
    content = {"date": time.strftime("%FT%T%z"), "machine": machine(), "repeat": repeat, "cases": cases}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
