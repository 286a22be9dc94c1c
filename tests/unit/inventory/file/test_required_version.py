"""Which versions a lab file asks for: those are enough, the others are refused by the command."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from labrun import __version__
from labrun.inventory.file.load import load_lab
from tests.unit.command_line import run_labrun

LAB = """\
name: demo
networks: {{left: {{cidr: 10.40.1.0/24}}}}
hosts: {{one: {{networks: {{left: dhcp}}}}}}
requires_labrun: "{}"
"""


@pytest.mark.parametrize(
    "text", [">=0.1", f"=={__version__}", "~=0.1.0", " >= 0.0.1 , < 99", "!=0.0.9", f"==={__version__}"]
)
def test_this_version_is_enough(text: str) -> None:
    assert load_lab("-", stdin=io.StringIO(LAB.format(text))).name == "demo"


@pytest.mark.parametrize("text", [">=99", f"!={__version__}", "<0.1", ">=0.1, <0.1", "~=7.2"])
def test_another_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB.format(text), encoding="utf-8")
    for args in (("validate",), ("verify", "--offline"), ("status",)):
        done = run_labrun("--lab", "lab.yaml", *args, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == (
            f"lab.yaml:4: requires_labrun: the lab needs labrun {text}, and this is labrun {__version__}"
            " (install such a version, or change this line)"
        )
