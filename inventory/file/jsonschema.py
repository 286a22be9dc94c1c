"""The lab file's JSON Schema, for editors and for looking up the keys that a place of the file accepts."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Final

from labrun.inventory.file.key_texts import TEXTS
from labrun.inventory.file.problems import Path
from labrun.inventory.file.schema import LabFile

__all__ = ["home_of_key", "json_schema", "known_keys"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:labrun:lab-file"
_NAMED_BY_USER: Final = ("additionalProperties", "patternProperties")
_PLACES: Final[dict[Path, str]] = {
    (): "the top level",
    ("hosts", "H"): "a host",
    ("networks", "N"): "a network",
    ("hosts", "H", "networks", "N"): "a host's NIC",
    ("groups", "G"): "a group",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a lab file."""
    schema = _tidy(LabFile.model_json_schema())
    for name, model in (("LabFile", schema), *schema["$defs"].items()):
        _explain(name, model)
    return {"$schema": _DIALECT, "$id": _ID, **schema, "title": "labrun lab file"}


def _explain(name: str, model: dict[str, Any]) -> None:
    """Add to each key of a model what it means and an example, and to the model itself plain text."""
    model["description"] = model.get("description", "").replace("``", "`")
    for key, value in model.get("properties", {}).items():
        text = TEXTS.get(name, {}).get(key) or TEXTS["Settings"].get(key)
        if text is not None:
            value["description"], value["examples"] = text[0], [text[1]]


@lru_cache(maxsize=512)
def known_keys(path: Path) -> tuple[str, ...]:
    """Return the fixed keys of the mapping at this path, empty if its keys are free names."""
    return tuple(_at(path).get("properties", ()))


def home_of_key(key: str, path: Path) -> str | None:
    """Return where else a key belongs, None if it is valid at ``path`` or unknown everywhere."""
    if key in known_keys(path):
        return None
    return next((place for other, place in _PLACES.items() if key in known_keys(other)), None)


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _at(path: Path) -> dict[str, Any]:
    """Return the schema of the mapping at this path, empty if there is none."""
    here = _mapping_form(_schema())
    for part in path:
        here = _mapping_form(_below(here, part))
    return here


def _below(schema: dict[str, Any], part: str | int) -> dict[str, Any]:
    below: Any
    if isinstance(part, int):
        below = schema.get("items")
    else:
        below = schema.get("properties", {}).get(part)
        if below is None:
            below = schema.get("additionalProperties") or next(
                iter(schema.get("patternProperties", {}).values()), None
            )
    return below if isinstance(below, dict) else {}


def _mapping_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the alternative of a schema that can hold further values."""
    if reference := schema.get("$ref"):
        return _mapping_form(_schema()["$defs"][reference.rpartition("/")[2]])
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        form = _mapping_form(choice)
        if form.get("type") in ("object", "array"):
            return form
    return schema


def _tidy(schema: Any) -> Any:
    """Drop model internals (None, generated titles); close mappings whose keys have a pattern."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _tidy(value) for name, value in below.items()}
        if key in ("properties", "$defs")
        else _tidy(below)
        for key, below in schema.items()
        if key != "title" and not (key == "default" and (below is None or isinstance(below, dict)))
    }
    if "patternProperties" in made:
        made.setdefault("additionalProperties", False)
    if "anyOf" in made:
        choices = [choice for choice in made["anyOf"] if choice != {"type": "null"}]
        if len(choices) == 1:
            del made["anyOf"]
            made = {**choices[0], **made}
        else:
            made["anyOf"] = choices
    return made
