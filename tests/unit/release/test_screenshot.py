"""A command's screen as a picture: whole, coloured, and of nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from release.screenshot import main, picture, screen_of
from tests import places

_SVG = "{http://www.w3.org/2000/svg}"


def words_of(svg: str) -> str:
    root = ET.fromstring(svg)
    return "\n".join("".join(text.itertext()) for text in root.iter(f"{_SVG}text")).replace("\xa0", " ")


def test_a_screen_is_that_of_a_terminal() -> None:
    code = "import os, sys; print(os.get_terminal_size().columns, sys.stdout.isatty(), '\\x1b[31mred')"
    assert screen_of([sys.executable, "-c", code]) == "80 True \x1b[31mred\n"


def test_a_picture_has_the_words_and_the_colours_and_loads_nothing() -> None:
    svg = picture("labrun <x>", "plain \x1b[1;31mred\x1b[0m & more\n")
    words = words_of(svg)
    assert "labrun <x>" in words
    assert "red" in words
    assert " & more" in words
    assert "#ff7b72" in svg
    assert "<title>labrun &lt;x&gt;</title>" in svg
    assert re.findall(r"https?://[^\"]*|url\([^)]*\)", svg) == ["http://www.w3.org/2000/svg"]


def test_it_is_written_where_it_is_told(tmp_path: Path) -> None:
    target = tmp_path / "screen.svg"
    main([str(target), sys.executable, "-c", "print('said')"])
    assert "said" in words_of(target.read_text(encoding="utf-8"))


def test_the_pictures_of_the_readme_are_there_and_say_what_it_says() -> None:
    readme = (places.ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert "docs/pictures/verify.svg" in shown
    for path in shown:
        svg = (places.ROOT / path).read_text(encoding="utf-8")
        assert re.findall(r"https?://[^\"]*", svg.replace("http://www.w3.org/2000/svg", "")) == []
    words = words_of((places.ROOT / "docs" / "pictures" / "verify.svg").read_text(encoding="utf-8"))
    for said in ("kvm-network-lab", "host00: net.ipv4.ip_forward is 0, expected 1", "labrun verify -v"):
        assert said in words
