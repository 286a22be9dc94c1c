"""The documentation builds into a site that is complete and fetches nothing; what it shows is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from labrun.inventory.file.load import load_lab
from labrun.runner.main import cli
from tests import places
from tests.unit.runner.commands.test_report_browser import CHROMIUM, chromium

DOCS = places.ROOT / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.yaml"))
TRANSLATIONS = sorted(DOCS.glob("quickstart-*.md"))
# What makes a browser fetch something, and where that is not a page of the site.
FETCHED = re.compile(
    r"""(?:<(?:script|img|iframe|source)[^>]*\ssrc|<link(?![^>]*canonical)[^>]*\shref)=["']?(https?:)?//"""
)
FETCHED_BY_STYLE = re.compile(r"""(?:url\(|@import\s)["']?(https?:)?//""")


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(page: str) -> list[str]:
    """Return the commands that a page lets its reader type, without what explains them."""
    lines = [
        line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")
    ]
    return [re.split(r"\s{3,}", line.removeprefix("$ "))[0] for line in lines]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site."""
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", target],
        cwd=places.ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert pages <= built
    assert {Path("contributing.html"), Path("changelog.html"), Path("adr/index.html")} <= built
    assert not [path for path in site.rglob("*") if path.suffix == ".py"]


def test_reading_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not FETCHED_BY_STYLE.search(style.read_text(encoding="utf-8")), style


def test_the_site_calls_pages_by_their_titles(site: Path) -> None:
    for page in site.glob("*.html"):
        if page.name != "changelog.html":
            assert not re.search(r">[a-z-]+\.md</a>", page.read_text(encoding="utf-8")), page
    assert re.search(
        r'href="lab-file-keys\.html">Keys of the lab file</a>', (site / "index.html").read_text()
    )


@pytest.mark.full
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["commands", "lab-file-keys"])
def test_keys_and_options_stand_in_one_piece(site: Path, name: str, tmp_path: Path) -> None:
    probe = """<pre id="found"></pre><script>
        const broken = [...document.querySelectorAll("td:first-child code")].filter(
          (one) => one.getClientRects().length > 1);
        document.getElementById("found").textContent = JSON.stringify(
          [broken.map((one) => one.textContent), document.documentElement.scrollWidth <= innerWidth]);
        </script></body>"""
    page = site / f"probe-{name}.html"
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    shown = chromium(tmp_path, page, "--window-size=500,900", "--dump-dom")
    page.unlink()
    match = re.search(r'<pre id="found">(.*?)</pre>', shown)
    assert match, shown
    assert json.loads(unescape(match[1])) == [[], True]


@pytest.mark.parametrize("text", ["<script src=https://a.test/x.js>", "<link rel=x href='//a.test/f.css'>"])
def test_what_would_be_fetched_is_seen(text: str) -> None:
    assert FETCHED.search(text)


@pytest.mark.parametrize("lab", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_what_graph_draws(lab: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    drawn = CliRunner().invoke(cli, ["--lab", str(lab), "graph", "--format", "svg"])
    assert drawn.exit_code == 0
    assert drawn.stdout == lab.with_suffix(".svg").read_text(encoding="utf-8")


def test_the_file_beside_a_picture_is_the_one_that_was_drawn() -> None:
    shown = [yaml.safe_load(block) for block in blocks("networks.md", "yaml")]
    drawn = [yaml.safe_load(lab.read_text(encoding="utf-8")) for lab in PICTURES]
    assert len(shown) == len(drawn) > 0
    for lab in drawn:
        lab.pop("name")
        assert lab in shown


@pytest.mark.parametrize("number", range(len(blocks("how-to.md", "yaml"))))
def test_the_files_of_the_how_tos_are_valid(number: int, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(blocks("how-to.md", "yaml")[number], encoding="utf-8")
    assert load_lab(path).hosts


@pytest.mark.parametrize("page", ["how-to.md", *(page.name for page in TRANSLATIONS)])
def test_the_commands_that_readers_type_exist(page: str) -> None:
    commands = [line for line in typed(page) if line.startswith("labrun ")]
    assert commands
    for line in commands:
        words = shlex.split(line, comments=True)[1:]
        words = words[: words.index(">")] if ">" in words else words
        _parse(words)


def _parse(words: list[str]) -> None:
    """Let click parse a command line, without running it."""
    command: click.Command = cli
    ctx = command.make_context("labrun", words, resilient_parsing=False)
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None
        command = found
        ctx = command.make_context(name, rest, parent=ctx)


def test_a_command_that_does_not_exist_is_seen() -> None:
    with pytest.raises(click.UsageError):
        _parse(["verify", "--no-such-option"])


def test_all_languages_type_the_same() -> None:
    assert len(TRANSLATIONS) == 3
    first, *others = (typed(page.name) for page in TRANSLATIONS)
    assert "make quickstart" in first
    assert all(other == first for other in others)
