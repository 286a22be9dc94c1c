"""The alert rules and the dashboard ask for metrics and labels that exist, and the page names them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from labrun.runner.watching.metrics import HOST_STATES, METRICS
from tests import places

DOCS = places.ROOT / "docs"
RULES = yaml.safe_load((DOCS / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DOCS / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
LABELS = {"labrun_drift_items": {"lab", "host", "section"}, "labrun_hosts": {"lab", "state"}}


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (entry["definition"] for entry in DASHBOARD["templating"]["list"] if "definition" in entry)


def test_every_metric_that_is_asked_for_exists_and_every_one_is_shown() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"labrun_\w+", expression)}
    assert asked == set(METRICS) - {"labrun_last_success_timestamp_seconds", "labrun_run_exit_code"}


def test_labels_are_those_that_the_metrics_have() -> None:
    for expression in expressions():
        for metric, selected in re.findall(r"(labrun_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", selected)) <= LABELS.get(metric, {"lab"}), expression
        for metric in re.findall(r"labrun_\w+", expression):
            for grouped in re.findall(r"by \(([^)]*)\)", expression):
                assert set(re.split(r",\s*", grouped)) <= LABELS.get(metric, {"lab"}), expression


def test_states_that_rules_ask_for_exist() -> None:
    found = re.findall(r'state=~"([^"]*)"', " ".join(expressions()))
    assert found
    assert {state for states in found for state in states.split("|")} <= set(HOST_STATES)


def test_every_rule_says_what_it_is_about() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "{{ $labels.lab }}" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    assert any("time() - labrun_last_run_timestamp_seconds" in rule["expr"] for rule in rules())


def test_the_dashboards_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= 24
        cells = {
            (x, y)
            for x in range(where["x"], where["x"] + where["w"])
            for y in range(where["y"], where["y"] + where["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_page_names_every_metric_with_its_labels() -> None:
    named = re.findall(r"^\| `(labrun_\w+)(?:\{([\w,]+)\})?` \|", PAGE, re.MULTILINE)
    assert {name for name, _ in named} == set(METRICS)
    for name, labels in named:
        assert set(filter(None, labels.split(","))) | {"lab"} == LABELS.get(name, {"lab"})
    for state in HOST_STATES:
        assert f"`{state}`" in PAGE
