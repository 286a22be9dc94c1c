"""Whatever a source says, the result is a valid lab file or a message: no traceback, and no other end."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.errors import LabFileError, UsageError
from labrun.inventory.file.load import lab_of
from labrun.inventory.file.source import decode_source
from labrun.inventory.starting.importing import from_file
from tests import places
from tests.hostile import LINES
from tests.unit.inventory.starting.test_importers import SOURCES

CASES = places.RECORDED / "starting"


def tried(name: str, text: str, beside: str = "") -> str:
    """Return the lab file that a source becomes, empty if it is refused; both are all right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8", errors="replace")
        if beside:
            Path(folder, "pc1.startup").write_text(beside, encoding="utf-8", errors="replace")
        try:
            made = from_file(path, name="x").text
        except (UsageError, LabFileError):
            return ""
        assert lab_of(decode_source(made.encode(), "lab.yaml", folder)).hosts
        return made


@pytest.mark.parametrize("case", SOURCES)
@given(data=st.data())
def test_lines_of_real_files_in_any_order(case: str, data: st.DataObject) -> None:
    lines = (CASES / case / SOURCES[case]).read_text(encoding="utf-8").splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines)))
    tried(SOURCES[case], "\n".join(kept) + "\n")


@pytest.mark.parametrize("case", SOURCES)
@given(data=st.data())
def test_real_files_with_words_exchanged(case: str, data: st.DataObject) -> None:
    words = (CASES / case / SOURCES[case]).read_text(encoding="utf-8").split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(st.one_of(LINES, st.sampled_from(words)))
    tried(SOURCES[case], " ".join(words))


ADDRESSES = st.one_of(
    st.from_regex(r"10\.[0-3]\.[0-2]\.(0|1|2|7|254|255)/(8|16|24|29|30|31|32)", fullmatch=True),
    st.from_regex(r"fd00:[0-2]::[0-9]/(48|64|126|127|128)", fullmatch=True),
    st.sampled_from(["0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/4", "169.254.1.1/16", "fe80::1/64", "x", "::/0"]),
)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), ADDRESSES, ADDRESSES), min_size=1, max_size=8)
)
def test_addresses_that_contradict_each_other(links: list[tuple[int, int, str, str]]) -> None:
    hosts = sorted({number for link in links for number in link[:2]})
    nodes = "".join(f"    n{number}: {{kind: {'srl' if number % 2 else 'linux'}}}\n" for number in hosts)
    written = "".join(
        f'    - {{endpoints: ["n{a}:eth{i}", "n{b}:e{i}"], ipv4: ["{one}", "{other}"]}}\n'
        for i, (a, b, one, other) in enumerate(links)
    )
    text = f"topology:\n  nodes:\n{nodes}  links:\n{written}"
    # Nothing here is beyond what labrun can leave out: there is always a lab.
    assert tried("a.clab.yml", text)


COMMANDS = st.one_of(
    st.builds("ip addr add {} dev eth{}".format, ADDRESSES, st.integers(0, 2)),
    st.builds("ip route add {} via {}".format, ADDRESSES, ADDRESSES.map(lambda text: text.split("/")[0])),
    st.builds("route add default gw {}".format, ADDRESSES.map(lambda text: text.split("/")[0])),
    st.builds(
        "sysctl -w {}={}".format, st.sampled_from(["net.ipv4.ip_forward", "net.x", "kernel.x"]), st.integers()
    ),
    LINES,
)


@given(st.lists(COMMANDS, max_size=8))
def test_startup_files_of_any_kind(commands: list[str]) -> None:
    conf = "pc1[0]=A\npc1[1]=B\nr1[0]=A\nr1[1]=C\npc2[0]=B\n"
    assert tried("lab.conf", conf, "\n".join(commands))
