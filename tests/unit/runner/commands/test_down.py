"""`labrun down --name`: a name that no lab has or had is a mistake, not a lab that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

NODE = """\
<node>
  <network>
    <name>demo-n</name>
    <metadata><labrun:lab xmlns:labrun='urn:labrun:1' name='demo' network='n'/></metadata>
    <forward mode='nat'/>
    <bridge name='virbr77'/>
    <ip address='10.9.7.1' netmask='255.255.255.0'/>
  </network>
</node>
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the variable that names a hypervisor of the test's own, with the lab demo on it."""
    (tmp_path / "node.xml").write_text(NODE)
    return {"LABRUN_HYPERVISOR": f"test://{tmp_path}/node.xml"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dmeo", 'did you mean "demo"?'), ("something-else", "`labrun list` names the labs here")],
)
def test_a_mistyped_name_is_refused_and_leaves_nothing_behind(
    name: str, hint: str, env: dict[str, str], tmp_path: Path
) -> None:
    done = run_labrun("-y", "--state-dir", "state", "down", "--name", name, cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'error: --name: no lab is called "{name}", here or in the history\nhint: {hint}\n'
    assert not (tmp_path / "state").exists()


def test_a_lab_that_was_here_once_is_gone(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "state" / "history").mkdir(parents=True)
    (tmp_path / "state" / "history" / "past.sqlite").touch()
    done = run_labrun("-y", "--state-dir", "state", "down", "--name", "past", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to remove" in done.stdout
