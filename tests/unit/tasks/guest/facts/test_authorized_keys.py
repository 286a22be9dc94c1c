"""The guest's shell finds sshd's settings for keys, and a long answer of sshd takes it no time."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

from labrun.tasks.guest.facts.authorized_keys import probe
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import parse_facts

_MARK = "labrun-test"


def _asked(settings: str) -> tuple[dict[str, str], frozenset[str], float]:
    """Return the output by name, the words, and the processor seconds of a shell that has these settings."""
    bare, _, _ = probe("root", "").script.partition("settings=$sshd_settings")
    values = {"m": _MARK, "sshd_settings": settings, "blocks": ""}
    script = assigned(values) + guest_script("frames") + bare.removeprefix("(\n")
    script += "settings=$sshd_settings ended=0 first='' entries='root:x:0:0:root:/root:/bin/sh'\n"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["sh", "-s"],
        input=f"{script}keys_of root\nframe end\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr == ""
    facts = parse_facts(done.stdout, _MARK)
    texts = {name: output.text.strip("\n") for name, output in facts.commands.items()}
    return texts, facts.words, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _settings(files: str, lines: int = 0) -> str:
    many = "".join(f"kexalgorithms{number} {'x' * 60}\n" for number in range(lines))
    return f"port 22\n{many}authorizedkeysfile {files}\ntrustedusercakeys /etc/ssh/ca *.pub\nusedns no"


def test_the_settings_are_those_of_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("authorizedkeysfile /no\n")
    texts, words, _ = _asked("xauthorizedkeysfile /x\n" + _settings(f"{tmp_path}/two .ssh/%u"))
    assert texts == {
        "keys-files root": f"{tmp_path}/two\n/root/.ssh/root",
        f"keys-in root {tmp_path}/two": "authorizedkeysfile /no",
    }
    assert words == {"keys-ca root /etc/ssh/ca *.pub", "end"}


def test_a_setting_that_is_missing_is_empty() -> None:
    texts, words, _ = _asked("port 22\ntrustedusercakeys none")
    assert texts == {"keys-files root": ""}
    assert words == {"end"}


def test_many_lines_take_no_time() -> None:
    # 130 KB, ten times what sshd prints: by the square of it, this took half a minute.
    texts, _, seconds = _asked(_settings("/nowhere", 1_600))
    assert texts["keys-files root"] == "/nowhere"
    assert seconds < 2
