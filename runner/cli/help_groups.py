"""How ``labrun --help`` groups the commands, and what other tools call them."""

from __future__ import annotations

from typing import Final

__all__ = ["ELSEWHERE", "GROUPS"]

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Creating and removing": (
        *("init", "validate", "schema", "plan", "up", "down", "start", "stop", "restart"),
    ),
    "Configuring and verifying": ("configure", "verify", "drift", "schedule"),
    "Breaking and mending": ("break", "mend", "lesson"),
    "Drawings and reports": ("graph", "report"),
    "Looking back": ("history", "show", "diff"),
    "Looking and logging in": (
        *(
            "status",
            "ssh",
            "log",
            "capture",
            "tc",
            "exec",
            "run",
            "console",
            "net",
            "doctor",
            "list",
            "inventory",
        ),
    ),
    "This machine's network": ("host-bridge",),
    "Snapshots and forks": ("snapshot", "fork", "drop"),
    "Images": ("image",),
    "Shell completion": ("completion",),
    "Other machines": ("fleet",),
    "For other programs": ("mcp",),
}
"""The headings and their commands, in the order of docs/commands.md. A test holds them equal."""

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "create": ("up",),
    "deploy": ("up",),
    "apply": ("up", "configure"),
    "provision": ("up", "configure"),
    "redeploy": ("up --recreate",),
    "reload": ("restart",),
    "reboot": ("restart",),
    "destroy": ("down",),
    "undeploy": ("down",),
    "remove": ("down",),
    "rm": ("down",),
    "delete": ("down",),
    "clean": ("down",),
    "wipe": ("down",),
    "halt": ("stop",),
    "shutdown": ("stop",),
    "suspend": ("stop", "snapshot save"),
    "inspect": ("status",),
    "info": ("status",),
    "ps": ("status",),
    "global-status": ("list",),
    "ls": ("list",),
    "labs": ("list",),
    "connect": ("ssh", "console"),
    "shell": ("ssh",),
    "login": ("ssh",),
    "attach": ("console",),
    "cmd": ("exec",),
    "ansible": ("inventory",),
    "ssh-config": ("inventory --format ssh-config",),
    "check": ("verify", "validate"),
    "test": ("verify",),
    "lint": ("validate",),
    "ping": ("verify",),
    "topology": ("graph",),
    "draw": ("graph",),
    "box": ("image",),
    "netem": ("tc",),
    "tools": ("tc", "capture"),
    "tcpdump": ("capture",),
    "logs": ("log", "history"),
    "fix": ("mend", "drift --fix"),
    "repair": ("mend", "drift --fix"),
}
"""Commands that users of vagrant, containerlab, netlab, virsh or docker type, and labrun's for them.

They are suggested and never run: a word of another tool may mean less there than labrun would do.
"""
