"""The JSON Schema that editors use agrees with what is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from labrun.inventory.file.jsonschema import home_of_key, known_keys
from labrun.inventory.file.load import json_schema
from tests import places

EXAMPLES = places.EXAMPLES
ERRORS = places.RECORDED / "lab_errors"


class Keys(yaml.SafeLoader):
    """Reads `on:` as editors do, by YAML 1.2: as text."""


Keys.yaml_implicit_resolvers = {
    first: found for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items() if first not in "oO"
}


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(json_schema())


def test_it_is_a_schema_of_its_dialect() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["name", "hosts"]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_examples_are_valid(example: Path, validator: Any) -> None:
    validator.validate(yaml.load(example.read_text(encoding="utf-8"), Keys))


@pytest.mark.parametrize(
    "case",
    [
        "bad_mode",
        "unknown_key",
        "memory",
        "bad_role",
        "missing_keys",
        "images",
        "sysctl",
        "mac",
        "hypervisor",
    ],
)
def test_an_editor_marks_mistakes_of_form(case: str, validator: Any) -> None:
    data = yaml.safe_load((ERRORS / f"{case}.yaml").read_text(encoding="utf-8"))
    assert list(validator.iter_errors(data))


@pytest.mark.parametrize(
    "nic",
    [
        "10.1.0.5",
        "dhcp",
        {"ipv4": "dhcp", "mac": "02:00:00:00:00:01", "nmcli": {"connection.autoconnect": False}},
    ],
    ids=["address", "dhcp", "mapping"],
)
def test_every_form_of_a_nic_is_valid(nic: object, validator: Any) -> None:
    validator.validate({"name": "demo", "hosts": {"a": {"networks": {"n": nic}}}})


@pytest.mark.parametrize("sshd", [False, {"Port": 22}, {"AllowUsers": ["a", "b"]}, {"X11Forwarding": False}])
def test_every_form_of_sshd_is_valid(sshd: object, validator: Any) -> None:
    validator.validate({"name": "demo", "hosts": {"a": {"sshd": sshd}}})


def test_null_is_no_value_of_anything() -> None:
    assert "null" not in str(json_schema())


def test_keys_of_a_place() -> None:
    assert set(known_keys(("hosts", "a", "routes", 0))) == {"to", "via"}
    assert set(known_keys(("hosts", "a", "networks", "n"))) == {
        *("network", "ipv4", "ipv6", "mac", "filter", "nmcli", "spoofing", "model", "vlan")
    }
    assert known_keys(("hosts",)) == ()
    assert home_of_key("cidr", ()) == "a network"
    assert home_of_key("colour", ()) is None
    assert home_of_key("cidr", ("networks", "n")) is None
