"""Fill in the files under templates/. XML values are escaped; an undefined value is an error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_text", "render_xml"]


@cache
def _xml_environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("labrun.templates", ""),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


@cache
def _text_environment() -> Environment:
    return _xml_environment().overlay(autoescape=False, trim_blocks=True, lstrip_blocks=True)


def render_text(template: str, **values: Any) -> str:
    """Return ``templates/<template>`` filled in. Values are inserted as they are: the caller quotes them."""
    return _text_environment().get_template(template).render(values)


def render_xml(template: str, **values: Any) -> str:
    """Return ``templates/<template>`` filled in, every value escaped for XML.

    ``tag`` may be an ElementTree element, which is inserted unescaped.
    """
    import xml.etree.ElementTree as ET

    from markupsafe import Markup

    prepared = {
        key: Markup(ET.tostring(value, encoding="unicode")) if isinstance(value, ET.Element) else value  # noqa: S704
        for key, value in values.items()
    }
    return _xml_environment().get_template(template).render(prepared)
