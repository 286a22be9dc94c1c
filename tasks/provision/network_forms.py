"""Where the settings of a network stand in libvirt's XML: each form writes its text there, and reads it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Protocol

__all__ = [
    "Attributes",
    "Bridge",
    "BridgeName",
    "Device",
    "Entries",
    "Form",
    "Subnet",
    "in_order",
    "is_chosen",
]

_CHOSEN = re.compile(r"virbr[0-9]+")


class Form(Protocol):
    """Where a setting stands in a network's XML; its text is empty where it is not set."""

    def write(self, root: ET.Element, text: str) -> None: ...

    def read(self, root: ET.Element) -> str: ...


def _made(root: ET.Element, path: str) -> ET.Element:
    """Return the element at a path, made where it is missing."""
    for name in path.split("/"):
        found = root.find(name)
        root = ET.SubElement(root, name) if found is None else found
    return root


class Attributes:
    """Attributes of an element, joined by hyphens; ``default`` is as good as not set."""

    def __init__(self, path: str, *names: str, default: str = "", **beside: str) -> None:
        self.path, self.names, self.default, self.beside = path, names, default, beside

    def write(self, root: ET.Element, text: str) -> None:
        if text:
            values = text.split("-", len(self.names) - 1)
            _made(root, self.path).attrib.update(zip(self.names, values, strict=True), **self.beside)

    def read(self, root: ET.Element) -> str:
        found = root.find(self.path)
        text = "" if found is None else "-".join(found.get(name, "") for name in self.names)
        return "" if text == self.default else text


class Subnet:
    """The hypervisor's address with its prefix length, for one IP version."""

    def __init__(self, family: str) -> None:
        self.family = family

    def write(self, root: ET.Element, text: str) -> None:
        if text:
            address, _, prefix = text.partition("/")
            ET.SubElement(root, "ip", {"family": self.family, "address": address, "prefix": prefix})

    def read(self, root: ET.Element) -> str:
        found = root.findall(f"ip[@family='{self.family}']")
        texts = (f"{each.get('address')}/{each.get('prefix') or each.get('netmask')}" for each in found)
        return " ".join(str(ip_interface(text)) for text in texts)


class Device:
    """The hypervisor's NIC: of the forwarding or, for macvtap, of the guests."""

    def write(self, root: ET.Element, text: str) -> None:
        if text:
            _made(root, "forward/interface" if _is_bridged(root) else "forward").set("dev", text)

    def read(self, root: ET.Element) -> str:
        found = [*root.findall("forward"), *root.findall("forward/interface")]
        return next(filter(None, (each.get("dev") for each in found)), "")


class Bridge:
    """A bridge made outside libvirt; those of other modes are named by libvirt and forward at once."""

    def write(self, root: ET.Element, text: str) -> None:
        if text:
            ET.SubElement(root, "bridge", {"name": text})
        elif not _is_bridged(root):
            ET.SubElement(root, "bridge", {"stp": "off", "delay": "0"})

    def read(self, root: ET.Element) -> str:
        found = root.find("bridge")
        return found.get("name", "") if found is not None and _is_bridged(root) else ""


class BridgeName:
    """The declared name of the bridge that libvirt makes; one that it has chosen is as good as none."""

    def write(self, root: ET.Element, text: str) -> None:
        if text:
            _made(root, "bridge").set("name", text)

    def read(self, root: ET.Element) -> str:
        found = root.find("bridge")
        name = found.get("name", "") if found is not None and not _is_bridged(root) else ""
        return "" if is_chosen(name) else name


def is_chosen(bridge: str) -> bool:
    """Tell whether a bridge's name is one that libvirt has chosen."""
    return _CHOSEN.fullmatch(bridge) is not None


def _is_bridged(root: ET.Element) -> bool:
    return root.find("forward[@mode='bridge']") is not None


@dataclass(frozen=True, slots=True)
class Entries:
    """Elements of one kind, one word each, which libvirt adds and deletes in a running network.

    ``section`` is its constant for them; ``word`` returns "" for an element that is none of labrun's. ``key``
    names the attribute that tells an element from all others of its kind, where the rest does not.
    """

    path: str
    section: str
    word: Callable[[ET.Element], str]
    element: Callable[[str], ET.Element]
    key: str = ""

    def to_delete(self, element: ET.Element) -> ET.Element:
        """Return what libvirt finds an element by: it refuses what fits more than one."""
        return ET.Element(element.tag, {self.key: element.get(self.key, "")}) if self.key else element

    def write(self, root: ET.Element, text: str) -> None:
        """Add an element for each word."""
        for word in text.split():
            _made(root, self.path.rpartition("/")[0]).append(self.element(word))

    def read(self, root: ET.Element) -> str:
        """Return the words of the elements."""
        return in_order(filter(None, map(self.word, root.findall(self.path))))


def in_order(words: Iterable[str]) -> str:
    return " ".join(sorted(words, key=lambda word: word.split("=")))
