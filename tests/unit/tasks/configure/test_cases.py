"""Plans for what real guests answered: each case is a spec, one gather's output and the plan in words.

``NAME-fresh`` is a guest as cloud-init leaves it, ``NAME-configured`` the same after ``configure``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.configure.resources import SECTIONS, explain, plan_host
from labrun.tasks.guest.shell import Facts, parse_facts
from tests import places

CASES = places.RECORDED / "configure"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())
MARK = "labrun-case"


def spec_of(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CASES / name / "spec.json").read_text(encoding="utf-8"))
    return loaded


def gathered(name: str) -> str:
    return (CASES / name / "gathered.txt").read_text(encoding="utf-8")


def facts_of(name: str) -> Facts:
    return parse_facts(gathered(name), MARK)


def in_words(plan: HostPlan) -> str:
    """Return the plan as a person would look it through."""
    lines = []
    for part in plan.sections:
        for item in part.items:
            lines.append(f"{part.section} {item.name}: {item.state}, {item.actual!r} -> {item.expected!r}")
            lines.extend(f"    {line}" for line in (item.diff or "").splitlines())
            lines.extend([f"    because {item.why}"] if item.why else [])
        lines.extend(f"  $ {command}" for command in part.commands)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_one_that_was_looked_through(name: str) -> None:
    expected = (CASES / name / "plan.txt").read_text(encoding="utf-8")
    assert in_words(plan_host(spec_of(name), facts_of(name))) == expected


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-configured")])
def test_a_configured_guest_needs_nothing(name: str) -> None:
    plan = plan_host(spec_of(name), facts_of(name))
    assert plan.is_empty
    assert {item.state for part in plan.sections for item in part.items} == {"ok"}
    assert not any(part.commands for part in plan.sections)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-fresh")])
def test_a_fresh_guest_becomes_its_configured_twin(name: str) -> None:
    twin = name.removesuffix("-fresh") + "-configured"
    assert spec_of(name) == spec_of(twin)
    assert not plan_host(spec_of(name), facts_of(name)).is_empty
    assert plan_host(spec_of(name), facts_of(twin)).is_empty


def test_only_what_was_asked_for_is_planned() -> None:
    plan = plan_host(spec_of("router-fresh"), facts_of("router-fresh"), ["sysctl"])
    assert [part.section for part in plan.sections] == ["sysctl"]


def test_every_section_is_in_some_case_and_there_is_no_other() -> None:
    assert {section for name in NAMES for section in spec_of(name)["sections"]} == set(SECTIONS)


def test_explain_needs_no_guest_and_names_each_section_s_tool() -> None:
    lines = explain(spec_of("router-fresh"))
    for start in ("sysctl -w net.ipv4.ip_forward=1", "sshd -t", "nmcli connection add type ethernet"):
        assert any(line.startswith(start) for line in lines), start
    assert explain(spec_of("router-fresh"), ["sysctl"]) == lines[:4]
