"""Results as JUnit XML for CI systems: one test suite per host.

Use only what Ant's schema and its derivatives have in common: properties, test cases with at most one
verdict, system-out, system-err. The totals at the top are Jenkins' addition, which others take or ignore.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from labrun.outcome import Outcome, Status
from labrun.runner.views.status_look import look

__all__ = ["junit"]

# Characters that XML 1.0 does not allow, not even escaped, and those that reorder or hide text.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u061b\u061d-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def junit(lab: str, command: str, run: str, rows: Sequence[Outcome], seconds: float) -> str:
    """Return the document. ``run`` is the run's ID, which begins with its time, ``seconds`` its duration.

    ``failed`` is a failure, ``unreachable`` and ``unknown`` are errors, ``warning`` passes and is listed in
    the suite's system-out. The time of a case is what its row took, that of a suite their sum: traces run
    beside each other, so the whole takes less, and that is the time of ``testsuites``.
    """
    verdicts = [look(row.status).junit for row in rows]
    root = ET.Element(
        "testsuites",
        {
            "name": _clean(f"labrun {command}: {lab}"),
            "tests": str(len(rows)),
            "failures": str(verdicts.count("failure")),
            "errors": str(verdicts.count("error")),
            "time": f"{seconds:.3f}",
        },
    )
    hosts = list(dict.fromkeys(row.host for row in rows))
    for number, host in enumerate(hosts):
        its_rows = [row for row in rows if row.host == host]
        root.append(_suite(number, lab, host, its_rows))
        _properties(root[-1], {"command": f"labrun {command}", "run": run, "seconds": f"{seconds:.3f}"})
        root[-1].set("timestamp", match[0] if (match := _TIMESTAMP.match(run)) else "1970-01-01T00:00:00")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(number: int, lab: str, host: str, rows: Sequence[Outcome]) -> ET.Element:
    verdicts = [look(row.status).junit for row in rows]
    suite = ET.Element(
        "testsuite",
        {
            "id": str(number),
            "package": _clean(lab),
            "name": _clean(host),
            "hostname": _clean(host),
            "tests": str(len(rows)),
            "failures": str(verdicts.count("failure")),
            "errors": str(verdicts.count("error")),
            "skipped": str(verdicts.count("skipped")),
            "time": f"{sum(row.seconds for row in rows):.3f}",
        },
    )
    ET.SubElement(suite, "properties")
    for row, verdict in zip(rows, verdicts, strict=True):
        _case(suite, lab, row, verdict)
    warnings = [row for row in rows if row.status is Status.WARNING]
    ET.SubElement(suite, "system-out").text = "".join(f"warning: {_message(row)}\n" for row in warnings)
    ET.SubElement(suite, "system-err").text = ""
    return suite


def _case(suite: ET.Element, lab: str, row: Outcome, verdict: str | None) -> None:
    name = f"{row.section} {row.name}" if row.name else row.section
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "name": _clean(name),
            "classname": _clean(f"{lab}.{row.host}.{row.section}"),
            "time": f"{row.seconds:.3f}",
        },
    )
    if verdict == "skipped":
        ET.SubElement(case, "skipped", {"message": _clean(row.why or "")})
    elif verdict is not None:
        element = ET.SubElement(case, verdict, {"message": _message(row), "type": row.status.value})
        element.text = _clean("\n".join(f"{what}: {value}" for what, value in _details(row)))


def _properties(suite: ET.Element, values: dict[str, str]) -> None:
    for name, value in values.items():
        ET.SubElement(suite[0], "property", {"name": name, "value": _clean(value)})


def _message(row: Outcome) -> str:
    if row.why:
        return _clean(row.why)
    return _clean(f"expected {row.expected or 'nothing'}, got {row.actual or 'nothing'}")


def _details(row: Outcome) -> list[tuple[str, str]]:
    values = (("expected", row.expected), ("got", row.actual), ("why", row.why), ("diff", row.diff))
    return [(what, value) for what, value in values if value]


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
