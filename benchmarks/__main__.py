"""`python -m benchmarks`: measure, show a table, write benchmarks/results/latest.json."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from labrun.hypervisor import enter_network

RESULTS = Path(__file__).resolve().parent / "results"
_LARGE = ("work50", "peers50")
_LARGEST = ("work100",)
_SLOW = ("vms",)
_PEERS = "peers"


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--case",
        default="",
        metavar="TEXT",
        help="only cases whose name, or whom it is measured against, has this text",
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each contender (5)")
    parser.add_argument("--quick", action="store_true", help="one run of each, small labs only")
    parser.add_argument("--large", action="store_true", help="also labs of 50 hosts")
    parser.add_argument("--peers", action="store_true", help="also Ansible and pyinfra, which pip installs")
    parser.add_argument("--vms", action="store_true", help="also virtual machines; takes long")
    parser.add_argument("--record", metavar="FILE", type=Path, help="write the table as Markdown, too")
    found = parser.parse_args()
    unknown = sorted(set(found.only) - set(names))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    if found.repeat < 1:
        parser.error("--repeat must be 1 or more")
    return found


def _chosen(found: argparse.Namespace, names: list[str]) -> list[str]:
    if found.only:
        return [name for name in names if name in found.only]
    # The largest labs only by name: they need most of the memory of a machine.
    left = [name for name in names if name not in _LARGEST]
    left = [name for name in left if found.large or name not in _LARGE]
    left = [name for name in left if found.vms or name not in _SLOW]
    left = [name for name in left if found.peers or not name.startswith(_PEERS)]
    return [name for name in left if not name.endswith(("10", "20"))] if found.quick else left


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    # Same effect as Ctrl-C: labs are taken down on the way out.
    raise KeyboardInterrupt


def main() -> int:
    """Measure the selected groups and return the exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    from benchmarks.cases import GROUPS
    from benchmarks.measure import Result, compare
    from benchmarks.peer_tools import install_peers
    from benchmarks.report import as_markdown, as_table, write_json

    groups = {group.name: group for group in GROUPS}
    found = _arguments(list(groups))
    chosen = _chosen(found, list(groups))
    if any(name.startswith(_PEERS) for name in chosen):
        install_peers()
    # The guests' bridges may be in libvirtd's network namespace, unreachable from outside, so join it.
    enter_network("lxc:///system")
    repeat = 1 if found.quick else found.repeat
    results: list[Result] = []
    os.environ.pop("LABRUN_LAB", None)
    # Without cached bytecode every run would recompile labrun, which does not happen on a normal system.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as base:
            for name in chosen:
                with groups[name].open(Path(base)) as cases:
                    for case in cases:
                        if found.case in f"{case.name}, {case.against}":
                            results.append(compare(case, repeat, _tell))
    except KeyboardInterrupt:
        _tell("interrupted; what was made is taken down")
        return 130
    except RuntimeError as error:
        _tell(f"error: {error}")
        return 1
    finally:
        if results:
            print(as_table(results))
    write_json(RESULTS / "latest.json", results, repeat)
    if found.record:
        found.record.write_text(as_markdown(results, repeat), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
