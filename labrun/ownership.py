"""The tag that marks labrun's libvirt objects: one element in ``<metadata>``."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun import __version__

__all__ = ["NAMESPACE", "Tag", "read_tag", "tag_element"]

NAMESPACE = "urn:labrun:1"
_ELEMENT = f"{{{NAMESPACE}}}lab"
_FIXED = ("name", "host", "digest", "version")
_KEY = re.compile(r"[a-z][a-z0-9-]*")

ET.register_namespace("labrun", NAMESPACE)


@dataclass(frozen=True, slots=True)
class Tag:
    """The owner of an object: lab, host (empty on networks), lab file digest, labrun version.

    ``extra`` holds further attributes, such as ``image``.
    """

    lab: str
    host: str = ""
    digest: str = ""
    version: str = __version__
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def fits(self, name: str) -> bool:
        """Tell whether an object with this libvirt name is the one that the tag was written for.

        Copies and renamed objects keep the tag: libvirt and its tools copy ``<metadata>`` too.
        """
        thing = self.host or self.extra.get("network", "")
        return not thing or name == f"{self.lab}-{thing}"


def tag_element(tag: Tag) -> ET.Element:
    """Return ``<labrun:lab name= host= digest= version= …/>``, for ``<metadata>``."""
    element = ET.Element(_ELEMENT, {"name": tag.lab})
    for key, value in (("host", tag.host), ("digest", tag.digest), ("version", tag.version)):
        if value:
            element.set(key, value)
    for key, value in sorted(tag.extra.items()):
        if key in _FIXED or not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot be an attribute of the tag")
        element.set(key, value)
    return element


def read_tag(xml: str) -> Tag | None:
    """Return the tag in a domain's or network's XML, None if labrun did not create the object."""
    element = ET.fromstring(xml).find(f"./metadata/{_ELEMENT}")  # noqa: S314 - libvirt's own output
    if element is None or not element.get("name"):
        return None
    extra = {key: value for key, value in element.attrib.items() if key not in _FIXED}
    return Tag(
        lab=element.get("name", ""),
        host=element.get("host", ""),
        digest=element.get("digest", ""),
        version=element.get("version", ""),
        extra=MappingProxyType(extra),
    )
