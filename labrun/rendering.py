"""Fill in the files under templates/: XML is escaped, an undefined value is an error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_xml"]


@cache
def _xml_environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("labrun.templates", ""),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def render_xml(template: str, **values: Any) -> str:
    """Return ``templates/<template>`` filled in, every value escaped for XML.

    ``tag`` may be an ElementTree element; it is put in as it is.
    """
    import xml.etree.ElementTree as ET

    from markupsafe import Markup

    prepared = {
        key: Markup(ET.tostring(value, encoding="unicode")) if isinstance(value, ET.Element) else value  # noqa: S704
        for key, value in values.items()
    }
    return _xml_environment().get_template(template).render(prepared)
