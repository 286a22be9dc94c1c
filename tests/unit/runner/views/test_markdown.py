"""The job summary: what went wrong on top, nothing from a guest taken for markup, never too large."""

from __future__ import annotations

from labrun.outcome import Outcome, Status
from labrun.runner.views.markdown import LIMIT, markdown
from tests.unit.verify_cases import captured


def shown(name: str) -> str:
    case = captured(name)
    return markdown("captured", "verify", list(case.lab.hosts), case.rows, 3.2, ok=name == "ok")


def test_a_failure_stands_on_top() -> None:
    lines = shown("broken").splitlines()
    assert lines[0] == "## labrun verify: captured: not ok"
    assert lines[2] == "75 ok, 1 skipped, 7 failed, 22 unreachable in 3.2 s"
    assert lines[4:13] == [
        "**2 causes**",
        "",
        "- <code>x</code> host00: net.ipv4.ip&#95;forward is 0, expected 1",
        "  - breaks: 6 paths",
        "  - by hand: <code>labrun configure --hosts host00 --dry-run --explain</code>",
        "  - labrun: <code>labrun configure --hosts host00</code>",
        "- <code>!</code> host04: the machine is shut off: &#96;labrun up&#96; starts it",
        "  - breaks: path host00 -&gt; host04, path host03 -&gt; host04",
        "  - labrun: <code>labrun up --hosts host04</code>",
    ]
    assert lines[14] == "<details><summary>29 results that need attention</summary>"
    assert lines[16:19] == [
        "| | host | what | expected | got | why |",
        "|---|---|---|---|---|---|",
        "| x failed | host00 | sysctl net.ipv4.ip&#95;forward | 1 | 0 |  |",
    ]


def test_a_healthy_lab_has_its_results_folded_only() -> None:
    text = shown("ok")
    before, _, folded = text.partition("<details>")
    assert before == "## labrun verify: captured: ok\n\n104 ok, 1 skipped in 3.2 s\n\n"
    assert folded.count("| . ok |") == 104
    assert text.count("<details>") == text.count("</details>") == 2
    assert "| **host01** | 1 |  | 1 | 2 | 2 |" in text


def test_words_of_guests_are_no_markup() -> None:
    hostile = "a|b\n<img src=x> [x](y) @somebody `c` *d* _e_ \x1b[31m"
    row = Outcome("h", "check", hostile, Status.FAILED, hostile, hostile, hostile)
    text = markdown("lab", "verify", ["h"], [row], 1.0, ok=False)
    (line,) = {line for line in text.splitlines() if line.startswith("| x ")}
    assert line.count("|") == 7
    for sign in ("<img", "[x]", "@", "`", "*", "_e_", "\x1b"):
        assert sign not in line
    assert "<br>&lt;img" in line


def test_it_stays_below_the_limit_and_says_what_is_missing() -> None:
    row = Outcome("h", "check", "c", Status.FAILED, "é" * 200, "y" * 200, "z" * 600)
    text = markdown("lab", "verify", ["h"], [row] * 2000, 1.0, ok=False)
    assert LIMIT * 0.8 < len(text.encode()) < LIMIT
    assert "more rows are left out here." in text
