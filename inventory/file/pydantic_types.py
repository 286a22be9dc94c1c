"""The building blocks of the lab file's models: strict sections, short forms, custom messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from labrun.inventory.file.problems import quoted, shown

__all__ = [
    "OWN_ERROR",
    "Matching",
    "Section",
    "Shorthand",
    "either",
    "is_switch",
    "listed",
    "parsed",
    "wrong",
]

OWN_ERROR: Final = "labrun"
_V = TypeVar("_V")


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def wrong(what: str, hint: str | None = None) -> PydanticCustomError:
    """Return the error to raise from a validator; the report shows it unchanged."""
    return PydanticCustomError(OWN_ERROR, "{what}", {"what": what, "hint": hint})


@dataclass(frozen=True, slots=True, eq=False)  # hashable by identity, as Annotated requires
class Matching:
    """Match text against a regular expression, with a custom message and the pattern in the JSON Schema."""

    pattern: str
    what: str
    hint: str | None = None

    def check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise wrong(f"{quoted(value)} is not a valid {self.what}", self.hint)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "pattern": f"^({self.pattern})$"}


@dataclass(frozen=True, slots=True, eq=False)  # hashable by identity, as Annotated requires
class Shorthand:
    """Allow a value's short form: ``expand`` gives the long form, ``short`` is the short form's schema."""

    expand: Callable[[Any], Any]
    short: tuple[dict[str, Any], ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [*self.short, handler(core)]}


def parsed(parse: Callable[[str], _V], schema: dict[str, Any], what: str) -> Any:
    """Return the annotations of a field that is written as text and stored as the result of ``parse``."""

    def check(value: Any) -> _V:
        if not isinstance(value, str):
            raise wrong(f"expected {what}, got {shown(value)}")
        return parse(value)

    return (PlainValidator(check), WithJsonSchema({"type": "string", **schema}))


def either(what: str, *kinds: type) -> BeforeValidator:
    """Reject values of other types with a message that lists all the valid forms."""

    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise wrong(f"expected {what}, got {shown(value)}")
        return value

    return BeforeValidator(check)


def listed(value: Any) -> Any:
    """Return a list; wrap any other value in one."""
    return value if isinstance(value, list) else [value]


def is_switch(value: Any) -> str:
    """Return the tag of the alternative for a value that is true, false or a mapping."""
    return "(switch)" if isinstance(value, bool) else "(mapping)"
