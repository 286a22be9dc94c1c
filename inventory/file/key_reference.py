"""The page docs/lab-file-keys.md, from the models: ``python -m labrun.inventory.file.key_reference``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from labrun.inventory.file.jsonschema import json_schema
from labrun.inventory.file.key_texts import PLACES, TEXTS

__all__ = ["reference"]

_HEAD = """\
# Keys of the lab file

Every key with its type and an example, as editors show them with `labrun schema`.
[The lab file](lab-file.md) explains them.
`[]` is an entry of a list; `N`, `H`, `G`, `F`, `I` are names that you choose.
"""


def reference() -> str:
    """Return the page as Markdown."""
    schema = json_schema()
    models = {"LabFile": schema, **schema["$defs"]}
    blocks = [_HEAD]
    for name, place in PLACES.items():
        blocks.append(f"\n## {place}\n\n| key | type | meaning | example |\n|---|---|---|---|\n")
        for key, value in models[name]["properties"].items():
            if key in TEXTS[name]:
                required = ", required" if key in models[name].get("required", ()) else ""
                cells = (
                    f"`{key}`",
                    _cell(_type(value)) + required,
                    _cell(value["description"]),
                    f"`{_cell(_written(value['examples'][0]))}`",
                )
                blocks.append(f"| {' | '.join(cells)} |\n")
    return "".join(blocks)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _written(value: Any) -> str:
    """Return a value as YAML in one line, which JSON is."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value.rstrip("\n")


def _type(schema: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_types(schema)))


def _types(schema: dict[str, Any]) -> Iterator[str]:
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _types(choice)
    if "const" in schema:
        yield f"`{_written(schema['const'])}`"
    elif "enum" in schema:
        yield from (f"`{each}`" for each in schema["enum"])
    elif "$ref" in schema:
        yield "mapping"
    elif schema.get("type") == "array":
        yield f"list of {_type(schema['items'])}" if "items" in schema else "list"
    elif schema.get("type") == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        yield f"number, {low} to {high}" if low is not None and high is not None else "number"
    elif "type" in schema:
        yield {"object": "mapping", "string": "text", "boolean": "`true` or `false`"}[schema["type"]]


if __name__ == "__main__":
    sys.stdout.write(reference())
