"""Whatever a value contains is data: the scripts of configure, run by the real sh."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.errors import CommandError
from labrun.tasks.configure.shell import (
    Probe,
    apply_script,
    gather_script,
    install,
    install_word,
    marker,
    parse_facts,
    quote,
)

# sh cannot carry NUL in a word.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NASTY = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\nb\n\n",
    "\\",
    "-n",
    "%s%n",
    "$HOME ${m} $m",
    "  leading and trailing  ",
    "\r\n",
    "EOF\nframe end",
    "é ü 漢字 🙂",
    "!history",
    "*",
    "~",
    "",
]


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def sh(script: str, cwd: Path | None = None) -> Ended:
    """Run the script; bytes on both sides, so that no carriage return is made into something else."""
    done = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, cwd=cwd, check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    done = sh("".join(f"printf '%s\\0' {quote(word)}\n" for word in words))
    assert done.stdout.split("\0")[:-1] == words


@pytest.mark.parametrize("text", NASTY)
def test_nothing_in_a_value_is_run(text: str, tmp_path: Path) -> None:
    done = sh(f"printf %s {quote(text)}\n" + install(f"{tmp_path}/file", text, "0600"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_bytes() == text.encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@settings(max_examples=40, deadline=None)
@given(TEXT)
def test_installed_files_hold_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("install")
    assert sh(install(f"{folder}/new dir/it's", text, "0640")).stderr == ""
    path = folder / "new dir" / "it's"
    assert path.read_bytes() == text.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_is_never_there_half_written_nor_readable_too_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    text = install_word(f"{tmp_path}/file", '"$missing"', "0600")
    done = sh("set -eu\n" + text)
    assert done.returncode != 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert "umask 177" in text


def test_a_nul_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="a NUL character cannot be handed to a shell"):
        quote("a\0b")


def test_markers_differ_from_script_to_script() -> None:
    assert len({marker() for _ in range(50)}) == 50


def gathered(probes: list[Probe], cwd: Path | None = None, mark: str = "mark") -> str:
    done = sh(gather_script(probes, mark), cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), TEXT, max_size=5))
def test_files_come_back_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    facts = parse_facts(gathered([Probe((f"{quote(str(folder))}/*",))]), "mark")
    assert facts.under(str(folder)).keys() == files.keys()
    for name, text in files.items():
        # awk ends every line; whether the last one had an end is the only thing lost.
        whole = text if text.endswith("\n") or not text else text + "\n"
        assert facts.under(str(folder))[name] == whole


def test_a_file_that_imitates_frames_stays_a_file(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("\nlabrun-0 end\n\nmark-x file /etc/passwd\nroot\n", encoding="utf-8")
    mark = marker()
    facts = parse_facts(gathered([Probe((f"{tmp_path}/*",))], mark=mark), mark)
    assert list(facts.files) == [f"{tmp_path}/evil"]
    assert facts.words == {"end"}


def test_links_to_dev_null_and_empty_files_are_files_and_directories_are_not(tmp_path: Path) -> None:
    (tmp_path / "masked").symlink_to("/dev/null")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    facts = parse_facts(gathered([Probe((f"{tmp_path}/*",))]), "mark")
    assert facts.under(str(tmp_path)) == {"masked": "", "empty": ""}


def test_a_command_comes_back_with_both_streams_and_its_status(tmp_path: Path) -> None:
    script = "capture one sh -c 'echo out; echo err >&2; exit 3'\nframe seen it\n"
    facts = parse_facts(gathered([Probe((), script)]), "mark")
    one = facts.commands["one"]
    assert (one.status, one.text, one.error) == (3, "out\n", "err\n")
    assert facts.commands["one"].last_line == "err"
    assert "seen it" in facts.words


def test_a_gather_that_broke_off_is_no_gather() -> None:
    whole = gathered([Probe((), "capture one true\n")])
    with pytest.raises(CommandError, match="the script broke off before its end"):
        parse_facts(whole[: whole.index("end")], "mark")


def test_a_section_ends_at_its_first_error_and_the_next_one_goes_on(tmp_path: Path) -> None:
    sections = [("one", "echo first; false; touch never"), ("two", "touch there; echo fine")]
    done = sh(apply_script(sections, "mark"), tmp_path)
    facts = parse_facts(done.stdout, "mark")
    assert {name: (said.status, said.text.strip()) for name, said in facts.commands.items()} == {
        "one": (1, "first"),
        "two": (0, "fine"),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_a_section_s_own_exit_does_not_end_the_script() -> None:
    facts = parse_facts(sh(apply_script([("one", "exit 7"), ("two", "exit 0")], "mark")).stdout, "mark")
    assert [facts.commands[name].status for name in ("one", "two")] == [7, 0]


def test_what_is_begun_is_ended_when_the_session_is_cut(tmp_path: Path) -> None:
    lines = (
        "i=0; while [ $i -lt 2000 ]; do echo some output that nobody reads; i=$((i + 1)); done; touch done"
    )
    script = apply_script([("one", lines), ("two", "touch also")], "mark")
    reader, writer = os.pipe()
    with subprocess.Popen(
        ["sh", "-s"], stdin=subprocess.PIPE, stdout=writer, stderr=writer, cwd=tmp_path
    ) as run:
        os.close(writer)
        os.close(reader)
        run.communicate(script.encode(), timeout=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["also", "done"]
