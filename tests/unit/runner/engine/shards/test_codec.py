"""What travels between the controller and its workers comes back as it was, and nothing else travels."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.outcome import Outcome, Status
from labrun.runner.engine.shards import messages
from labrun.runner.engine.shards.codec import NAMED, from_line, to_line
from labrun.runner.engine.shards.messages import HostOutcome, HostSpec, Limits, Shard, TaskRef

_CLASSES: dict[str, Any] = {name: getattr(import_module(module), name) for name, module in NAMED.items()}
_KEYS = st.text(max_size=8)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.ip_addresses()
    | st.sampled_from(Status)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=3)
        | st.frozensets(st.text(max_size=4), max_size=3)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    line = to_line(value)
    assert line.count(b"\n") == 1
    assert from_line(line) == value
    assert type(from_line(line)) is type(value)


def _of(name: str) -> st.SearchStrategy[Any]:
    """Return values of a class that travels, of the types that its fields are declared with."""
    found = _CLASSES[name]
    if issubclass(found, Enum):
        return st.sampled_from(found)
    hints = {**get_type_hints(found, vars(import_module(NAMED[name]))), "jump": None, "cause": None}
    assert is_dataclass(found)
    drawn = {
        field.name: st.none()
        if hints[field.name] is None
        else _VALUES
        if hints[field.name] is Any
        else _LEAVES
        for field in fields(found)
    }
    return st.builds(_CLASSES[name], **drawn)


@pytest.mark.parametrize("name", NAMED)
def test_every_class_that_travels_comes_back_as_it_was(name: str) -> None:
    @given(_of(name))
    def comes_back(value: Any) -> None:
        assert from_line(to_line(value)) == value

    comes_back()


def test_every_message_travels() -> None:
    assert {*messages.__all__} - {"Event"} <= NAMED.keys()


def test_a_shard_and_its_outcome_come_back() -> None:
    jump = HostSpec("gate", "10.0.0.1", user="lab", key_file="/keys/id", host_keys=("ssh-ed25519 AAAA",))
    host = HostSpec(
        "web", None, 2222, options={"conn_timeout": 10}, data={"verify": {"traces": ()}}, jump=jump
    )
    task = TaskRef("labrun.tasks.collect.task:collect", {"only": ["nmcli"]}, Limits(32, 16, 60.0), run="r")
    shard = Shard("r/1/0", "worker-1", task, (host,))
    assert from_line(to_line(shard)) == shard
    rows = [Outcome("web", "sysctl", "net.ipv4.ip_forward", Status.CHANGED, by_hand=("sysctl -w",))]
    outcome = HostOutcome("r/1/0", "web", rows, changed=True, port=22)
    assert from_line(to_line(outcome)) == outcome


class _Task:
    """Stands for anything that must not travel."""


@pytest.mark.parametrize(
    "value", [_Task(), [_Task()], {"host": _Task()}, SimpleNamespace(), len, (1, object())]
)
def test_nothing_else_travels(value: object) -> None:
    with pytest.raises(TypeError, match="does not travel to workers"):
        to_line(value)


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", '["Popen", "true"]', '["IPv4Address"]', '[["tuple"]]', '["Shard", 1]', '["eval", "1"]'],
)
def test_other_text_is_no_message(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reason is that of whatever was wrong
        from_line(text)


def test_it_is_plain_json() -> None:
    assert json.loads(to_line({"a": (1, Status.OK)})) == {"a": ["tuple", 1, ["Status", "ok"]]}
