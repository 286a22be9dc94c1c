"""The report page in a real browser: scripts run, nothing overflows, words stay in their boxes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from labrun.inventory.drawing.diagram import Diagram
from labrun.runner.commands.graph import writer
from labrun.runner.commands.report.command import page
from labrun.runner.views.diagram_input import DrawnLab
from tests.unit.drawn_labs import every
from tests.unit.past_runs import past
from tests.unit.verify_cases import drawn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

# Runs in the page, and sends what it measured to the page around it.
PROBE = """
window.addEventListener("load", () => {
  const root = document.documentElement, style = getComputedStyle(document.body);
  const shown = () => [...document.querySelectorAll(".results tbody")].filter((one) => !one.hidden).length;
  const form = document.getElementById("filter"), words = document.getElementById("words");
  const before = shown();
  words.value = "HOST01 ip_forward"; words.dispatchEvent(new Event("input", {bubbles: true}));
  const searched = shown();
  words.value = ""; form.querySelectorAll("[name=status]").forEach((box) => {
    box.checked = box.value === "failed"; });
  form.dispatchEvent(new Event("input", {bubbles: true}));
  parent.postMessage({hidden: form.hidden, before, searched, failed: shown(),
    told: document.getElementById("shown").textContent, paper: style.backgroundColor, ink: style.color,
    wide: root.scrollWidth, room: root.clientWidth}, "*");
});
"""
SVG_PROBE = """
<pre id="found"></pre><script>
const svg = document.querySelector("svg"), paper = svg.getBoundingClientRect();
const box = (one) => one.getBoundingClientRect(), texts = [...svg.querySelectorAll("text")];
const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
const wrong = [];
for (const text of texts) if (!inside(box(text), paper)) wrong.push("off the paper: " + text.textContent);
for (const host of svg.querySelectorAll(".host"))
  for (const text of host.querySelectorAll("text"))
    if (!inside(box(text), box(host.querySelector("rect")))) wrong.push("out of box: " + text.textContent);
texts.forEach((one, at) => texts.slice(at + 1).forEach((other) => {
  if (meet(box(one), box(other))) wrong.push(one.textContent + " meets " + other.textContent); }));
document.getElementById("found").textContent = JSON.stringify({count: texts.length, wrong});
</script>
"""


def chromium(directory: Path, address: Path, *options: str) -> str:
    """Start a browser of its own that reaches nothing, and return what it printed."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--hide-scrollbars",
            f"--user-data-dir={directory / 'profile'}",
            *options,
            address.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def shown() -> DrawnLab:
    """Return the broken lab with a long past."""
    words = (
        "exec --hosts host00 'sysctl -w net.ipv4.ip_forward=0 && sysctl -w net.ipv6.conf.all.forwarding=0'"
    )
    runs = [past((0, 1, 4, None)[number % 4], number) for number in range(59)]
    return replace(drawn("broken"), runs=(past(0, command="exec", arguments=words), *runs))


def measured(directory: Path, width: int, *options: str) -> dict[str, Any]:
    """Return what the probe found in the report of the broken lab, shown in a frame of this width."""
    inner = page(shown()).replace("</body>", f"<script>{PROBE}</script></body>")
    (directory / "page.html").write_text(inner, encoding="utf-8")
    frame = f'<iframe src="page.html" style="border:0;width:{width}px;height:1500px"></iframe>'
    listen = "addEventListener('message', (event) => { found.textContent = JSON.stringify(event.data); });"
    outer = directory / "outer.html"
    outer.write_text(
        f"<!DOCTYPE html><meta name=color-scheme content='light dark'><pre id=found></pre>{frame}"
        f"<script>{listen}</script>",
        encoding="utf-8",
    )
    size = f"--window-size={max(width, 500) + 20},1600"
    text = chromium(directory, outer, size, "--virtual-time-budget=5000", "--dump-dom", *options)
    match = re.search(r'<pre id="found">(.*?)</pre>', text)
    assert match, text
    return dict(json.loads(unescape(match[1])))


@pytest.mark.parametrize("width", [400, 1200])
def test_the_filter_filters_and_nothing_overflows(tmp_path: Path, width: int) -> None:
    found = measured(tmp_path, width)
    assert found["hidden"] is False
    assert (found["before"], found["failed"], found["told"]) == (105, 7, "7 of 105 shown")
    assert found["searched"] == 3  # two paths from host01, one to it
    assert found["wide"] <= found["room"] == width


def test_light_and_dark_follow_the_browser(tmp_path: Path) -> None:
    light = measured(tmp_path, 1200)
    dark = measured(tmp_path, 1200, "--blink-settings=preferredColorScheme=0")
    assert (light["paper"], light["ink"]) == ("rgb(255, 255, 255)", "rgb(28, 33, 40)")
    assert (dark["paper"], dark["ink"]) == ("rgb(15, 20, 26)", "rgb(230, 237, 243)")


def test_without_scripts_every_row_is_there_and_no_dead_form(tmp_path: Path) -> None:
    text = re.sub(r"(?s)<script>.*?</script>", "", page(drawn("broken")))
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    dumped = chromium(tmp_path, file, "--dump-dom")
    assert dumped.count("<tbody data-status=") == 105
    assert '<form id="filter" hidden' in dumped


@pytest.mark.parametrize("name", every())
def test_words_of_the_drawing_stay_apart_and_in_their_boxes(tmp_path: Path, name: str) -> None:
    found: Diagram = replace(every()[name], verified="verified 2026-11-20T16:00:00Z")
    file = tmp_path / "drawing.html"
    file.write_text(f"<!DOCTYPE html>{writer('svg')(found)}{SVG_PROBE}", encoding="utf-8")
    match = re.search(r'<pre id="found">(.*?)</pre>', chromium(tmp_path, file, "--dump-dom"))
    assert match
    told = json.loads(unescape(match[1]))
    assert told["wrong"] == []
    assert told["count"] >= len(found.hosts) * 2


def test_a_picture_can_be_taken(tmp_path: Path) -> None:
    file, picture = tmp_path / "page.html", tmp_path / "page.png"
    file.write_text(page(shown()), encoding="utf-8")
    chromium(tmp_path, file, "--window-size=1200,1500", f"--screenshot={picture}")
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 50_000  # an empty page of this size takes a tenth of that
