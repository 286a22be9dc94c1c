"""The report page: everything of the last verify, nothing from anywhere else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from labrun.moments import dated
from labrun.outcome import Outcome, Pair, Status
from labrun.runner.commands.report.command import page
from labrun.runner.views.diagram_input import DrawnLab
from tests.unit.past_runs import past
from tests.unit.verify_cases import drawn

VOID = {"meta", "input", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """Collects elements, and notes where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def with_rows(*rows: Outcome) -> DrawnLab:
    """Return the lab with these rows as its last verify."""
    found = drawn("ok")
    assert found.last is not None
    return replace(found, last=replace(found.last, rows=rows))


@pytest.mark.parametrize("name", ["ok", "broken", None])
def test_it_is_well_formed_and_loads_nothing(name: str | None) -> None:
    text = page(drawn(name))
    found = Page(text)
    assert (found.wrong, found.open) == ([], [])
    for tag in ("link", "img", "iframe", "object", "embed", "audio", "video", "base"):
        assert not found.of(tag)
    assert not [attributes for _, attributes in found.elements if {"src", "href", "srcset"} & set(attributes)]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    # Only the name of SVG's namespace looks like an address.
    assert set(re.findall(r"\w+://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [each for each in found.of("meta") if "http-equiv" in each]
    assert (policy["content"] or "").startswith("default-src 'none';")


def test_every_row_is_there_with_its_reason() -> None:
    case = drawn("broken")
    assert case.last is not None
    found = Page(page(case))
    bodies = [each for each in found.of("tbody") if "data-status" in each]
    assert len(bodies) == len(case.last.rows) == 105
    assert [each["data-status"] for each in bodies[:8]] == ["failed"] * 7 + ["unreachable"]
    words = " ".join(found.words)
    assert words.count("host00: net.ipv4.ip_forward is 0") == 6 + 1, "each row, and the cause"
    for said in ("7 failed", "22 unreachable", "75 ok", "verified 2026-11-21 01:29 UTC"):
        assert said in words


def test_the_matrix_has_every_pair() -> None:
    found = Page(page(drawn("broken")))
    cells = [each for each in found.of("td") if "title" in each]
    assert len(cells) == 20
    assert {"class": "failed", "title": "host01 to host03: failed, host00: net.ipv4.ip_forward is 0"} in cells


def test_without_a_verify_it_says_so() -> None:
    found = Page(page(drawn(None)))
    words = " ".join(" ".join(found.words).split())
    assert "No verify yet: labrun verify fills this page." in words
    assert not found.of("table")
    assert found.of("svg")


def test_a_verify_of_another_file_is_marked() -> None:
    found = drawn("ok")
    assert found.last is not None
    old = replace(found, last=replace(found.last, digest="another"))
    assert f"verified {dated(found.last.began)}, before the lab file was changed" in page(old)
    assert "before the lab file was changed" not in page(found)


def test_words_of_guests_are_no_markup() -> None:
    hostile = "</td><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[31m"
    name = f"host01 -> {hostile.replace(' ', '')}"
    text = page(
        with_rows(
            Outcome("host01", "check", hostile, Status.FAILED, hostile, hostile, hostile, hostile),
            Outcome("host01", "path", name, Status.FAILED, hostile, hostile, hostile),
        )
    )
    found = Page(text)
    assert (found.wrong, found.open, found.of("img")) == ([], [], [])
    assert len(found.of("script")) == 1
    assert "\x1b" not in text


def test_only_the_hosts_asked_for() -> None:
    found = Page(page(replace(drawn("broken"), hosts=("host01",))))
    assert {each["data-host"] for each in found.of("tbody") if "data-host" in each} == {"host01"}


def test_of_many_hosts_the_matrix_is_left_out_and_that_is_said() -> None:
    found = drawn("ok")
    one = found.lab.hosts["host01"]
    many = {f"h{number}": replace(one, name=f"h{number}") for number in range(61)}
    lab = replace(found.lab, hosts=many)
    row = Outcome("h0", "path", "h0 -> h1", Status.OK, subject=Pair("h0", "h1", 4))
    assert found.last is not None
    shown = replace(found, lab=lab, hosts=tuple(many), last=replace(found.last, rows=(row,)))
    assert "The matrix is left out for so many hosts" in page(shown)


def test_the_last_runs_as_strips_and_as_a_table() -> None:
    runs = (
        past(0, 1),
        past(None, 2),
        past(1, 3, counts={"ok": 50, "failed": 8}, arguments="--hosts a"),
        past(3, 4, command="drift"),
        past(4, 5, digest="e" * 64),
        past(0, 6, counts={"warning": 1, "ok": 57}, digest="e" * 64),
        past(130, 7, command="up", digest=None, error="</td><script>alert(1)</script>", counts={}),
    )
    found = Page(page(replace(drawn("ok"), runs=runs)))
    assert (found.wrong, found.open, len(found.of("script"))) == ([], [], 1)
    cells = [each for each in found.of("span") if each.get("role") == "img"]
    assert [(each["class"], each["title"]) for each in cells] == [
        ("cell impaired", "2026-11-25 06:00 UTC: warnings or drift, 57 ok, 1 warning"),
        ("cell unreachable", "2026-11-25 07:00 UTC: unreachable, 58 ok"),
        ("cell failed", "2026-11-25 09:00 UTC: failed, 50 ok, 8 failed"),
        ("cell unknown", "2026-11-25 10:00 UTC: not finished, no results"),
        ("cell ok", "2026-11-25 11:00 UTC: ok, 58 ok"),
        ("cell impaired", "2026-11-25 08:00 UTC: warnings or drift, 58 ok"),
    ]
    words = " ".join(" ".join(found.words).split())
    assert "2026-11-25 09:00 UTC verify --hosts a failed 50 ok, 8 failed 1.5 s" in words
    assert "unfinished no results" in words
    assert "exit code" not in words
    assert words.count("(the lab file had changed)") == 1


def test_of_many_runs_the_newest_are_in_the_table() -> None:
    found = Page(page(replace(drawn("ok"), runs=tuple(past(0, number) for number in range(60)))))
    assert len([each for each in found.of("td") if each.get("data-label") == "began"]) == 20
    assert len([each for each in found.of("span") if each.get("role") == "img"]) == 60


def test_a_lab_without_a_past_has_no_history() -> None:
    assert 'id="history"' not in page(drawn("ok"))
