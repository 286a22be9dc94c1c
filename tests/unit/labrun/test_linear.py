"""What a host prints costs time in proportion: every pattern and every reader, by measured growth.

A quadratic cost grows sixteenfold where the text grows fourfold, a linear one fourfold. Time is that of this
process's CPU, so that a busy machine does not count.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import labrun
from labrun.bounded import read_json
from labrun.errors import UnreadableError
from labrun.inventory.check_model import Match
from labrun.outcome import Outcome, Status
from labrun.runner.commands.report.command import page
from labrun.runner.views.columns import folded, listing
from labrun.runner.views.diagram_input import DrawnLab, LastVerify, draw
from labrun.runner.views.graph.ascii import ascii_graph
from labrun.runner.views.graph.drawio import drawio_graph
from labrun.runner.views.graph.svg import svg_graph
from labrun.runner.views.graph.text import dot_graph, mermaid_graph
from labrun.runner.views.junit import junit
from labrun.runner.views.markdown import markdown
from labrun.runner.views.matrix import matrices
from labrun.runner.views.matrix import text as matrix_text
from labrun.runner.views.table import render
from labrun.runner.watching.grid import grid_lines
from labrun.secrets import Secrets, mask_settings
from labrun.tasks.collect.capture import read_capture
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.checks import read_check
from labrun.tasks.collect.collect_spec import CollectSpec, TraceSpec
from labrun.tasks.collect.task import evidence_of
from labrun.tasks.collect.translations import translates, translations
from labrun.tasks.configure.text_diff import unified
from labrun.tasks.drift.journal import read_journal
from labrun.tasks.guest.facts.nft import read_ruleset, suspects
from labrun.tasks.guest.facts.nft_rules import Packet
from labrun.tasks.guest.facts.sshd import effective_settings
from labrun.tasks.guest.facts.sysctl import settings_of, winner
from labrun.tasks.guest.keyfile import parse, properties
from labrun.tasks.guest.shell import Captured, Facts, parse_facts
from tests.shares import of_ci
from tests.unit.small_labs import two_networks

_SHORT, _LONG = 2_000, 8_000
_WORTH_A_LOOK = 0.01
"""Seconds: a linear pattern takes a hundredth of it for the longer text."""
_QUADRATIC = 8.0
# Patterns of the lab file's own text, and of its author.
_OWN = ("labrun.inventory.file", "labrun.searching")
_USES = re.compile(r"\.(search|match|fullmatch|finditer|findall|sub|split)\(")


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def is_quadratic(work: Callable[[int], object]) -> bool:
    """Tell whether the cost grows much faster than the length that ``work`` is given."""
    long = seconds(lambda: work(_LONG))
    if long < _WORTH_A_LOOK:
        return False
    # The best of some: a pause of the interpreter's own is not the pattern's.
    short = min(seconds(lambda: work(_SHORT)) for _ in range(3))
    if long <= _QUADRATIC * short:
        return False
    long = min(seconds(lambda: work(_LONG)) for _ in range(3))
    return long >= _WORTH_A_LOOK and long > _QUADRATIC * short


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(labrun.__path__, "labrun."):
        if not found.name.startswith(_OWN) and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def patterns() -> dict[str, tuple[re.Pattern[str], frozenset[str]]]:
    """Return every compiled pattern of text by its place, with the methods its module calls it by."""
    found = {}
    for module in modules():
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                used = frozenset(_USES.findall(" ".join(re.findall(rf"\b{name}\.\w+\(", text))))
                if used:
                    found[f"{module.__name__}.{name}"] = (value, used)
    return found


_PATTERNS = patterns()
_METHODS: dict[str, Callable[[re.Pattern[str], str], object]] = {
    "search": lambda pattern, text: pattern.search(text),
    "match": lambda pattern, text: pattern.match(text),
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
    "finditer": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),
    "findall": lambda pattern, text: pattern.findall(text),
    "sub": lambda pattern, text: pattern.sub("", text),
    "split": lambda pattern, text: pattern.split(text),
}
_SEEDS = (
    *("a", "0", " ", "\t", "\n", ".", "/", "-", "=", ":", '"', "'", "\\", "{", "!", "<"),
    *("a.", "a ", "1 ", "a-", "a=", "a:", "\\n", " !X", "a\n", '""'),
)


def hostile(pattern: str) -> Iterator[tuple[str, str, str]]:
    """Yield beginnings, what is repeated, and ends: made of characters and of the pattern's own words."""
    plain = re.sub(r"\(\?P[<=]\w+[>)]|\\[A-Za-z]", " ", pattern)
    words = sorted(set(re.findall(r"[A-Za-z0-9_-]{2,}", plain)), key=len)[:10]
    for begin in ("", *words[-2:]):
        for seed in (*_SEEDS, *words):
            yield from ((begin, seed, end) for end in ("", "\0"))


def test_the_patterns_are_found() -> None:
    assert len(_PATTERNS) > 60
    assert "labrun.secrets._SETTING" in _PATTERNS


@pytest.mark.parametrize("place", _PATTERNS)
def test_a_pattern_is_linear_as_it_is_used(place: str) -> None:
    pattern, methods = _PATTERNS[place]
    slow = [
        (method, begin, seed, end)
        for begin, seed, end in hostile(pattern.pattern)
        for method in methods
        if is_quadratic(lambda n: _METHODS[method](pattern, begin + seed * (n // len(seed)) + end))  # noqa: B023
    ]
    assert slow == []


def test_what_is_quadratic_is_found() -> None:
    assert is_quadratic(lambda n: re.compile(r"a+b").search("a" * n))
    assert not is_quadratic(lambda n: re.compile(r"a++b").match("a" * n))


def check(kind: str, match: Match | None = None) -> CheckSpec:
    given = ip_address("10.0.0.1") if kind not in ("exec", "sysctl", "sshd") else None
    values = {"net.ipv4.ip_forward": "1"} if kind in ("sysctl", "sshd") else {}
    return CheckSpec(kind, kind, "80", None, given, "open", 0, (), values, match, None, None)


def framed(name: str) -> Callable[[str], object]:
    spec = CollectSpec(traces=(TraceSpec("b", ip_address("10.0.2.9"), 2),))
    every = {"link": "[]", "route4": "[]", "route6": "[]"}

    def read(text: str) -> object:
        parts = {**every, name: text}
        frames = "".join(f"\nM out {each}\n{said}\nM status {each} 0\n" for each, said in parts.items())
        raw: dict[str, Any] = {"mark": "M", "stdout": frames + "\nM end\n", "stderr": "", "spec": spec}
        try:
            return read_capture(raw), evidence_of(raw)
        except UnreadableError:
            return evidence_of(raw)

    return read


def filtered(text: str) -> object:
    rules = read_ruleset(
        "table inet x { # handle 1\n\tchain c { # handle 2\n"
        "\t\ttype filter hook input priority filter; policy accept;\n" + text
    )
    packet = Packet(ip_address("10.0.0.1"), ip_address("10.0.0.2"), "eth0", "eth1")
    return (
        list(suspects(rules, rules, packet, ("input",), ("inet",))),
        list(translations(rules, packet, ("input",), ("inet",))),
        translates(rules),
    )


def unless_unreadable(read: Callable[[str], object]) -> Callable[[str], object]:
    def guarded(text: str) -> object:
        try:
            return read(text)
        except UnreadableError as error:
            return error

    return guarded


def checked(kind: str) -> Callable[[str], object]:
    return lambda text: read_check(check(kind), Captured(text, 1, text), Facts())


READERS: dict[str, Callable[[str], object]] = {
    "settings masked": mask_settings,
    "secrets masked": Secrets.of(["hunter2hunter2", "abc"]).mask,
    "frames": lambda text: parse_facts(f"\nM out a\n{text}\nM status a 0\nM end\n", "M"),
    **{
        f"capture: {name}": framed(name)
        for name in ("trace 0", "large", "pings", "link", "rules4", "nft-after")
    },
    **{
        f"check: {kind}": checked(kind)
        for kind in ("tcp", "udp", "ping", "mtu", "http", "dns", "exec", "sysctl")
    },
    "exec matched": lambda text: read_check(
        check("exec", Match(regex="x{100}")), Captured(f"\n{text}", 0, ""), Facts()
    ),
    "exec json": lambda text: read_check(
        check("exec", Match(json="a[0]")), Captured(f"\n{text}", 0, ""), Facts()
    ),
    "nftables": filtered,
    "sshd": effective_settings,
    "sysctl.d": lambda text: (settings_of(text), winner("net/ipv4/x", {"/etc/sysctl.d/a.conf": text})),
    "keyfile": lambda text: properties(parse(text)),
    "json": lambda text: read_json(text, "x"),
    "journal": lambda text: read_journal(
        f"\nM out log\n{text}\nM status log 0\nM end\n", "M", "lab", "SHA256:x"
    ),
}
TEXTS: dict[str, Callable[[int], str]] = {
    "one word": lambda n: "password=1\n" + "x" * n,
    "a dotted word": lambda n: "password=1\n" + "x" * n + ".y=1",
    "a word with slashes": lambda n: "password=1\n" + "x" * n + "/y=1",
    "dashes": lambda n: "psk=1\n" + "ca-cert-p" * (n // 9) + "=1",
    "settings": lambda n: "a.password=x\n" * (n // 13),
    "escaped settings": lambda n: "a.password=x\\n" * (n // 14),
    "paths": lambda n: "secret /proc/sys/" * (n // 17),
    "quotes": lambda n: "'\"" * (n // 2),
    "unclosed quotes": lambda n: "'" + '" a' * (n // 3),
    "spaces": lambda n: " " * n,
    "numbers": lambda n: "1 " * (n // 2),
    "hops": lambda n: "by udp\n" + " 1  10.0.0.1  0.1 ms !X\n" * (n // 24),
    "brackets": lambda n: "[{" * (n // 2),
    "rules": lambda n: "\t\tip saddr { 10.0.0.1, " * (n // 22) + "drop # handle 3\n",
    "sections": lambda n: "[a]\nb=c\n" * (n // 8),
    "hexadecimal": lambda n: "4c 52 " * (n // 6),
}


def rows_with(text: str) -> list[Outcome]:
    """Return rows whose every column a guest has filled, one for each status."""
    return [
        Outcome("host00", section, f"{section} {text}", status, text, text, text, f"-{text}\n+{text}")
        for section, status in (
            ("files", Status.FAILED),
            ("sshd", Status.OK),
            ("path", Status.UNREACHABLE),
            ("sysctl", Status.WOULD_CHANGE),
        )
    ]


def healthy(text: str) -> DrawnLab:
    """Return a lab to draw, as its last verify saw it."""
    of = two_networks()
    last = LastVerify("2026-01-01T00:00:00Z-0000", "", 1.0, tuple(rows_with(text)))
    return DrawnLab(of, tuple(of.hosts), last)


PRINTERS: dict[str, Callable[[str], object]] = {
    "table": lambda text: render(rows_with(text), stream=io.StringIO(), diff=True, width=80),
    "narrow table": lambda text: render(rows_with(text), stream=io.StringIO(), width=30, every_row=True),
    "folded": lambda text: folded(text, 30),
    "list": lambda text: listing(("a", "b"), [(text, "x"), ("y", text)], color=False),
    "markdown": lambda text: markdown("lab", "verify", ["host00"], rows_with(text), 1.0, ok=False),
    "junit": lambda text: junit("lab", "verify", "run", rows_with(text), 1.0),
    "page": lambda text: page(healthy(text)),
    "graph": lambda text: [each(draw(healthy(text))) for each in (svg_graph, mermaid_graph, dot_graph)],
    "graph in text": lambda text: [each(draw(healthy(text))) for each in (ascii_graph, drawio_graph)],
    "matrix": lambda text: matrix_text(matrices(["host00"], rows_with(text))),
    "diff of a file": lambda text: unified("/etc/x", text, text + "\nmore"),
    "new file": lambda text: unified("/etc/x", None, text),
    "grid": lambda text: grid_lines(rows_with(text), {}, 80, 40),
}
SHOWN: dict[str, Callable[[int], str]] = {
    **{name: TEXTS[name] for name in ("one word", "settings", "quotes", "spaces")},
    "a wide word": lambda n: "\u4e00" * n,
    "an accented word": lambda n: "e\u0301" * (n // 2),
    "many lines": lambda n: "x\n" * (n // 2),
    "many different lines": lambda n: "".join(f"{each}\n" for each in range(n // 6)),
    "control characters": lambda n: "\x1b[31m\r" * (n // 6),
    "markup": lambda n: "<b>*[|" * (n // 6),
}


@pytest.mark.parametrize(
    "text", of_ci(SHOWN, ("one word", "an accented word", "many different lines", "markup"))
)
@pytest.mark.parametrize("printer", PRINTERS)
def test_a_printer_is_linear(printer: str, text: str) -> None:
    show, make = PRINTERS[printer], SHOWN[text]
    assert not is_quadratic(lambda n: show(make(n)))


@pytest.mark.parametrize("printer", of_ci(PRINTERS, ("table", "folded", "junit", "page", "graph in text")))
def test_64_kib_in_one_line_take_no_time(printer: str) -> None:
    for text in ("x" * 65_536, "\u4e00" * 65_536):
        assert seconds(lambda: PRINTERS[printer](text)) < 5.0  # noqa: B023


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_is_linear(reader: str, text: str) -> None:
    read, make = unless_unreadable(READERS[reader]), TEXTS[text]
    assert not is_quadratic(lambda n: read(make(8 * n)))
