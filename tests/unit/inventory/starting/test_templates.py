"""Each template is a valid lab of the given name, and explains itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import lab_of
from labrun.inventory.file.source import decode_source
from labrun.inventory.model import Lab
from labrun.inventory.starting.names import lab_name, label, unique
from labrun.inventory.starting.templates import DEFAULT, TEMPLATES, from_template
from tests import places


def read(text: str) -> Lab:
    return lab_of(decode_source(text.encode(), "lab.yaml", str(Path.cwd())))


def test_there_is_a_file_for_each_template_and_no_other() -> None:
    files = {path.stem for path in (places.ROOT / "templates" / "lab").iterdir()}
    assert files == set(TEMPLATES)
    assert DEFAULT in TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_a_valid_lab_with_comments_and_no_useless_key(template: str) -> None:
    text = from_template(template, "demo")
    lab = read(text)
    assert lab.name == "demo"
    assert lab.checks
    assert [str(notice) for notice in lab.notices if not notice.driver] == []
    lines = text.splitlines()
    assert sum(line.lstrip().startswith("#") for line in lines) >= 8
    assert all(len(line) <= 110 for line in lines)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_folder_called_like_a_part_of_the_lab_gets_another_name(template: str) -> None:
    lab = read(from_template(template, "demo"))
    for name in (*lab.networks, *lab.groups):
        assert read(from_template(template, name)).name == f"{name}-lab"
    assert read(from_template(template, "router")).name == "lab-router"


def test_the_subnets_of_two_templates_never_meet() -> None:
    labs = [read(from_template(template, "demo")) for template in TEMPLATES]
    subnets = [net.cidr for lab in labs for net in lab.networks.values() if net.cidr is not None]
    assert not [(a, b) for i, a in enumerate(subnets) for b in subnets[:i] if a.overlaps(b)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Lab (2)", "my-lab-2"),
        ("2024-course", "lab-2024-course"),
        ("", "lab"),
        ("日本", "lab"),
        ("Übung_3", "ubung-3"),
        ("x" * 60, "x" * 31),
        ("default", "lab-default"),
        ("a" * 30 + "--b", "a" * 30),
    ],
)
def test_a_folder_s_name_is_made_valid(text: str, name: str) -> None:
    assert lab_name(text) == name


def test_names_are_told_apart() -> None:
    taken: set[str] = set()
    for _ in range(3):
        taken.add(unique("web", taken))
    assert taken == {"web", "web-2", "web-3"}
    assert label("192.168.1.1", "net") == "net-192-168-1-1"
