"""Compute every route, and a path from every host to one host of each network, in a lab of a thousand."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

from labrun.inventory.file.load import load_lab
from labrun.inventory.topology.expectations import expectations

_ROUTERS = 100
_HOSTS = 900
_ROW = 25


def lab_text() -> str:
    """Return a lab file with 100 networks, their routers in four rows, and nine hosts on each."""
    lines = ["name: thousand", "hypervisor: lxc:///system", "networks:"]
    lines += [f"  n{i}: {{mode: isolated, cidr: 10.1.{i}.0/24}}" for i in range(_ROUTERS)]
    lines.append("hosts:")
    for i in range(_ROUTERS):
        # Each router is on its network and the next one; the rows meet in the first network.
        other = 0 if i % _ROW == _ROW - 1 else i + 1
        lines.append(
            f"  r{i}: {{role: router, networks: {{n{i}: 10.1.{i}.251, n{other}: 10.1.{other}.{i + 2}}}}}"
        )
    for i in range(_HOSTS):
        net = i % _ROUTERS
        lines.append(f"  h{i}: {{networks: {{n{net}: 10.1.{net}.{110 + i // _ROUTERS}}}}}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the lab and compute what `verify` would expect of it."""
    gc.set_threshold(200_000)  # same as the command line
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "lab.yaml")
        path.write_text(lab_text(), encoding="utf-8")
        lab = load_lab(path)
    found = expectations(lab)
    routes = sum(len(found.routes(name)) for name in lab.hosts)
    targets = [f"h{place}" for place in range(_ROUTERS)]
    paths = [found.path(source, target) for target in targets for source in lab.hosts if source != target]
    assert all(path.fault is None for path in paths)
    print(f"{routes} routes, {len(paths)} paths")


if __name__ == "__main__":
    main()
