"""Write YAML that every parser reads alike: strings that any of them could misread are quoted."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["Unsafe", "yaml_text"]

# YAML 1.1 and 1.2 disagree on numbers, times and booleans; none of them begins like this …
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*")
# … except for these.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class Unsafe(str):
    """A string that Ansible must not treat as a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _style(text: str) -> str | None:
    return None if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else '"'


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=_style(text))


def _unsafe(dumper: yaml.SafeDumper, text: Unsafe) -> yaml.ScalarNode:
    return dumper.represent_scalar("!unsafe", str(text), style='"')


_Dumper.add_representer(str, _string)
_Dumper.add_representer(Unsafe, _unsafe)


def yaml_text(value: Any) -> str:
    """Return plain values (mappings in their order, lists, strings, numbers, None) as one document."""
    # Lines are not folded: an unbroken path is easier to read and to search for.
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text)
