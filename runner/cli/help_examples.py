"""The examples at the end of each command's ``--help``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

__all__ = ["EXAMPLES", "format_examples"]

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "": (
        "labrun up --configure",
        "labrun verify",
        "labrun ssh host01",
        "labrun down",
    ),
    "init": (
        "labrun init",
        "labrun init --template dmz",
        "labrun init --from topology.clab.yml",
        "labrun init --list",
    ),
    "plan": ("labrun plan", "labrun plan --prune --json"),
    "up": (
        "labrun up --configure",
        "labrun up --hosts web,@router",
        "labrun up --recreate --hosts web",
    ),
    "configure": (
        "labrun configure --dry-run --diff",
        "labrun configure --hosts @router --only sysctl,firewall",
        "labrun configure --canary 1 --max-fail 10%",
    ),
    "verify": (
        "labrun verify",
        "labrun verify --pair host01:host03",
        "labrun verify --junit verify.xml --markdown verify.md",
    ),
    "drift": ("labrun drift", "labrun drift --fix", "labrun drift --every 15m --metrics labrun.prom"),
    "graph": ("labrun graph", "labrun graph -o lab.svg", "labrun graph --format dot | dot -Tpdf > lab.pdf"),
    "report": ("labrun report -o lab.html",),
    "break": (
        "labrun break",
        "labrun break --level easy --hosts @router",
        "labrun break --list",
        "labrun break gateway-wrong --seed 7",
    ),
    "mend": ("labrun mend",),
    "lesson": ("labrun lesson start --level easy", "labrun lesson check", "labrun lesson score -o score.xml"),
    "lesson start": ("labrun lesson start", "labrun lesson start --faults 3 --level medium --seed 7"),
    "lesson check": ("labrun lesson check",),
    "lesson hint": ("labrun lesson hint",),
    "lesson skip": ("labrun lesson skip",),
    "lesson score": ("labrun lesson score", "labrun lesson score -o score.xml"),
    "lesson stop": ("labrun lesson stop -y",),
    "status": ("labrun status", "labrun status --json"),
    "net": ("labrun net", "labrun net --rules"),
    "capture": (
        "labrun capture host01 icmp",
        "labrun capture host01:network1 -o ping.pcap --count 20",
        "labrun capture host01 -o - | wireshark -k -i -",
    ),
    "tc": (
        "labrun tc host01:network1 delay 50ms 5ms loss 1%",
        "labrun tc",
        "labrun tc host01 --clear",
    ),
    "history": ("labrun history --since 2d --failed", "labrun history --hosts web -o runs.jsonl"),
    "show": ("labrun show last", "labrun show verify-1 --diff"),
    "diff": ("labrun diff verify-1 verify", "labrun diff -2 -1"),
    "ssh": ("labrun ssh host01", "labrun ssh host01 ip route"),
    "log": ("labrun log host01",),
    "exec": ("labrun exec 'ip -br address'", "labrun exec --hosts @router -- sysctl net.ipv4.ip_forward"),
    "run": ("labrun run backup.py", "labrun run tasks.py:upgrade --set version=2 --hosts @router --dry-run"),
    "console": ("labrun console host01",),
    "fleet": ("labrun fleet init lab@site-a lab@site-b", "labrun fleet install --lab-key"),
    "fleet init": (
        "labrun fleet init lab@site-a lab@site-b",
        "labrun fleet init root@192.0.2.7:2222 --tls --address 192.0.2.1",
    ),
    "fleet install": ("labrun fleet install", "labrun fleet install --lab-key --packages wheels"),
    "fleet status": ("labrun fleet status", "labrun fleet status --json"),
    "fleet stop": ("labrun fleet stop", "labrun fleet stop --remove -y"),
    "mcp": ("labrun mcp", "labrun --lab ~/lab/lab.yaml mcp --allow-write"),
    "inventory": (
        "labrun inventory -o ssh.conf",
        "labrun inventory -o inventory.yaml",
        "labrun inventory --format nornir -o nornir/",
    ),
    "start": ("labrun start", "labrun start --hosts web"),
    "stop": ("labrun stop", "labrun stop --hosts @router --timeout 20"),
    "restart": ("labrun restart --hosts web",),
    "down": ("labrun down", "labrun down --hosts web", "labrun down --name old-lab -y"),
    "snapshot": ("labrun snapshot save before", "labrun snapshot restore before"),
    "snapshot save": ("labrun snapshot save before",),
    "snapshot restore": ("labrun snapshot restore before",),
    "snapshot diff": ("labrun snapshot diff before --hosts web",),
    "snapshot list": ("labrun snapshot list",),
    "snapshot remove": ("labrun snapshot remove before -y",),
    "fork": ("labrun fork trial", "labrun -f trial verify"),
    "drop": ("labrun drop trial",),
    "image": ("labrun image list", "labrun image pull debian-13"),
    "image build": ("labrun image build debian-12", "labrun image build debian-12:networkd"),
    "image check": ("labrun image check almalinux-9",),
    "image import": ("labrun image import Rocky-9.qcow2 --name rocky-9",),
    "image list": ("labrun image list",),
    "image prune": ("labrun image prune",),
    "image pull": (
        "labrun image pull debian-13",
        "labrun image pull https://example.org/x.qcow2 --checksums https://example.org/SHA256SUMS",
    ),
    "image remove": ("labrun image remove rocky-9",),
    "host-bridge": ("labrun host-bridge show", "labrun host-bridge create br0 --dev enp3s0"),
    "host-bridge create": (
        "labrun host-bridge create br0 --dev enp3s0",
        "labrun host-bridge create br0 --dev enp3s0 --address 192.168.1.5/24 --gateway 192.168.1.1",
    ),
    "host-bridge remove": ("labrun host-bridge remove br0",),
    "host-bridge confirm": ("labrun host-bridge confirm br0",),
    "host-bridge show": ("labrun host-bridge show",),
    "doctor": ("labrun doctor", "labrun --lab dmz/lab.yaml doctor"),
    "list": ("labrun list", "labrun list --orphans"),
    "validate": ("labrun validate", "labrun --lab dmz/lab.yaml validate --json"),
    "schema": ("labrun schema -o lab.schema.json",),
    "schedule": ("labrun schedule install --every 15m", "labrun schedule status"),
    "schedule install": (
        "labrun schedule install --every 15m",
        "labrun schedule install --calendar 'Mon..Fri 06:00' --user",
        "labrun schedule install --every 1h --cron",
    ),
    "schedule remove": ("labrun schedule remove",),
    "schedule status": ("labrun schedule status",),
    "completion": (
        'eval "$(labrun completion bash)"',
        "labrun completion fish > ~/.config/fish/completions/labrun.fish",
    ),
}
"""Command lines by full name of the command, the empty one for ``labrun`` itself. Tests parse all of them."""


def format_examples(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the examples of the command whose help is shown, if it has any."""
    lines = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
    if lines:
        with formatter.section("Examples"):
            formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in lines))
