"""What libvirt's hook for networks loads: the rules of the lab whose network has started, and no others."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import assigned, hypervisor_script
from labrun.tasks.provision import kept_rules, libvirt_hooks

XML = """\
<hookData>
  <network>
    <name>{name}</name>
    <metadata>
      <labrun:lab xmlns:labrun="urn:labrun:1" name="{lab}" network="left" version="0.1.0"/>
    </metadata>
  </network>
</hookData>
"""
TABLE = "labrun/a-lab/filter/quiet"
TEXT = f"table bridge {TABLE} {{\n}}\n"


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(libvirt_hooks, "_HOOKS", tmp_path / "hooks")
    for module in (libvirt_hooks, kept_rules):
        monkeypatch.setattr(module, "LABS", tmp_path / "labs")
    return tmp_path / "labs"


def started(labs: Path, name: str, *, lab: str, operation: str = "started") -> tuple[int, list[str]]:
    """Run the hook as libvirt does; its exit code and what the scripts printed."""
    hook = assigned({"labs": str(labs)}) + hypervisor_script("load_rules")
    done = subprocess.run(
        ["sh", "-c", hook, "sh", name, operation, "begin", "-"],
        input=XML.format(name=name, lab=lab),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.split()


def test_the_lab_s_rules_are_loaded_and_the_forwards_of_the_network_alone(labs: Path) -> None:
    for lab in ("a-lab", "other"):
        (labs / lab / ".rules").mkdir(parents=True)
        for name in ("filter-quiet", "forward-left", "forward-right", "spoofing"):
            (labs / lab / ".rules" / name).write_text(f"echo {lab}/{name}\n")
    expected = ["a-lab/filter-quiet", "a-lab/forward-left", "a-lab/spoofing"]
    assert started(labs, "a-lab-left", lab="a-lab") == (0, expected)
    assert started(labs, "a-lab-left", lab="a-lab", operation="start") == (0, [])
    assert started(labs, "foreign", lab="nobody's") == (0, [])
    assert started(labs, "gone-left", lab="gone") == (0, [])


def test_a_network_without_its_rules_does_not_start(labs: Path) -> None:
    (labs / "a-lab" / ".rules").mkdir(parents=True)
    (labs / "a-lab" / ".rules" / "filter-quiet").write_text("exit 3\n")
    assert started(labs, "a-lab-left", lab="a-lab") == (1, [])


def test_rules_are_kept_once_and_the_last_ones_take_the_hook_with_them(labs: Path) -> None:
    kept_rules.keep_rules(TABLE, TEXT)
    kept_rules.keep_rules("labrun/b/spoofing", TEXT, [["echo", "a b"]], "echo last")
    hook, path = labs.parent / "hooks/network.d/labrun", labs / "a-lab/.rules/filter-quiet"
    assert hook.stat().st_mode & 0o777 == 0o755
    assert (labs / "b/.rules/spoofing").read_text().endswith("END_OF_RULES\necho 'a b'\necho last\n")
    before = path.stat().st_ino
    kept_rules.keep_rules(TABLE, TEXT)
    assert path.stat().st_ino == before
    kept_rules.keep_rules(TABLE, TEXT.replace("}", "chain x {\n}\n}"))
    assert "chain x {" in path.read_text()
    kept_rules.forget_rules(TABLE)
    assert hook.exists()
    kept_rules.forget_rules("labrun/b/spoofing")
    assert not hook.exists()
    assert list(labs.iterdir()) == []
    kept_rules.forget_rules("labrun/b/spoofing")


def test_a_hook_stays_while_something_is_started(labs: Path) -> None:
    """libvirt may have looked for it and not have run it yet: its start would fail."""
    kept_rules.keep_rules(TABLE, TEXT)
    hook = kept_rules._HOOK.path
    assert hook.stat().st_mode & 0o777 == 0o755
    forgetting = threading.Thread(target=kept_rules.forget_rules, args=(TABLE,))
    with libvirt_hooks.starting(), libvirt_hooks.starting():
        forgetting.start()
        forgetting.join(0.3)
        assert forgetting.is_alive()
        assert hook.exists()
    forgetting.join(30)
    assert not forgetting.is_alive()
    assert not hook.exists()
    # Nothing of labrun's is there any more: nothing to keep.
    shutil.rmtree(labs)
    with libvirt_hooks.starting():
        assert not labs.exists()
