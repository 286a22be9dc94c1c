"""The registry of sections: nothing that a resource or a row uses is missing in it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from labrun.tasks.collect.schedule import SETTINGS as VERIFIED
from labrun.tasks.configure.resources import RESOURCES
from labrun.tasks.state import sections
from labrun.tasks.state.sections import SECTIONS, SETTINGS, Scope, Section, section_of
from tests import places

# Where a row's section stands among what it is made by.
_PLACE = {"Outcome": 1, "failure_row": 2, "row_of_error": 1, "outcomes_of": 1, "_row": 1, "_absent": 1}
_PLACE |= dict.fromkeys(("planned_row", "done_row", "kept_row", "removed_row"), 1)
_CALL = re.compile(rf"\b(?:{'|'.join(_PLACE)})\(")


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Yield where a row is made, and what stands in the place of its section."""
    for layer in ("tasks", "runner"):
        for path in sorted((places.ROOT / layer).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not _CALL.search(text):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _PLACE:
                    place = _PLACE[node.func.id]
                    named = [each.value for each in node.keywords if each.arg == "section"]
                    for value in [*node.args[place : place + 1], *named]:
                        yield f"{path.relative_to(places.ROOT)}:{node.lineno}", value


def literals() -> dict[str, str]:
    return {
        where: value.value
        for where, value in calls()
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }


def test_every_section_that_a_row_is_made_with_is_there() -> None:
    # The empty one is a row that is never shown.
    assert {where: name for where, name in literals().items() if name not in ("", *SECTIONS)} == {}
    assert {"machine", "network", "filter", "image", "ready", "path", "check"} <= set(literals().values())


def test_every_section_of_recorded_rows_is_there() -> None:
    recorded = [
        row["section"]
        for path in sorted(places.RECORDED.rglob("*.json"))
        if isinstance(found := json.loads(path.read_text(encoding="utf-8")), dict)
        for row in found.get("results", ())
    ]
    assert recorded
    assert set(recorded) <= set(SECTIONS)


def test_resources_stand_in_the_order_of_the_registry() -> None:
    assert [resource.section for resource in RESOURCES] == [each.name for each in SETTINGS]
    assert [resource.section for resource in VERIFIED] == ["sysctl", "ssh_keys", "sshd", "nmcli"]


def test_settings_follow_from_nothing_and_what_follows_does_so_from_settings() -> None:
    settings = {each.name for each in SETTINGS}
    assert all(not SECTIONS[name].follows for name in settings)
    following = {name: each.follows for name, each in SECTIONS.items() if each.follows}
    assert set(following) == {"address", "route", "path", "check"}
    assert following["check"] == settings
    assert set().union(*following.values()) <= settings


def test_a_section_that_nobody_knows_is_one_like_any_other() -> None:
    assert section_of("of another labrun") == Section("of another labrun", Scope.RUN)


def test_constants_are_named_as_their_sections() -> None:
    found = {name: each for name, each in vars(sections).items() if isinstance(each, Section)}
    assert {name: each.name.upper() for name, each in found.items()} == {name: name for name in found}
    assert all(SECTIONS[each.name] is each for each in found.values())
