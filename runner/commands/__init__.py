"""The commands: one module or folder each, and the table that the command line looks them up in."""

from __future__ import annotations

__all__ = ["VERBS"]

# name: (module below labrun.runner.commands, with `:attribute` if that is not `command`; one-line help). A
# test compares this help with the command's own.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a commented lab.yaml here, from a template or from another tool's file."),
    "plan": ("plan", "Show what `up` would create, change in place, recreate or remove."),
    "up": ("up", "Create the lab file's networks and machines, and wait until they answer."),
    "configure": (
        "configure",
        "Apply the lab file's addresses, routes, forwarding, SSH and other settings to the hosts.",
    ),
    "verify": (
        "verify.command",
        "Compare the hosts' addresses, routes and paths with what the lab file implies.",
    ),
    "drift": (
        "drift.command",
        "Compare networks, machines, settings and paths with the file and with what was last applied.",
    ),
    "graph": ("graph", "Draw networks, hosts, addresses and roles, coloured by the last verify."),
    "report": (
        "report.command",
        "Write one self-contained HTML page with diagram, matrix, results and history.",
    ),
    "break": ("faults.plant", "Plant a fault to find, without saying which; `labrun mend` removes it."),
    "mend": ("faults.mend", "Remove the fault that `labrun break` planted, and nothing else."),
    "lesson": ("lesson.command", "Find and mend a series of faults, with hints and a score."),
    "status": ("status", "Show the lab's hosts: state, addresses, whether SSH works, and the last runs."),
    "net": ("net", "Show the lab's networks: bridge, mode, leases with expiry, ports and attached machines."),
    "capture": ("capture", "Show the packets at hosts' NICs, or write them to a file."),
    "tc": ("tc", "Make the links of hosts slow or lossy, or show their settings."),
    "history": ("runs.history", "List the lab's past runs, newest first."),
    "show": ("runs.show", "Show a past run with all its results."),
    "diff": (
        "runs.diff",
        "Show what changed between two runs: results, observations, reasons and the lab file.",
    ),
    "ssh": ("ssh", "Log in to a host, or run a command there and exit with its exit code."),
    "log": ("log", "Show what the hypervisor's filters have refused at a host's NICs."),
    "exec": ("exec", "Run a command on all hosts (or --hosts) in parallel."),
    "run": ("user_tasks.command", "Run a Nornir task of your own on all hosts (or --hosts)."),
    "console": ("console", "Attach to a host's serial console, already logged in; Ctrl-] ends it."),
    "inventory": ("inventory", "Write the lab's inventory for Nornir, Ansible, ssh, /etc/hosts or a script."),
    "start": ("power:start", "Start the machines that are off."),
    "stop": ("power:stop", "Shut the machines down and keep them."),
    "restart": ("power:restart", "Shut the machines down, start them again, and wait until they are ready."),
    "down": ("down", "Remove the lab's machines and networks, and nothing else."),
    "snapshot": ("snapshots.command", "Save, restore and compare the state of all machines of the lab."),
    "fork": (
        "forks.command:fork",
        "Copy the running lab into a network of its own beside it, with the same addresses.",
    ),
    "drop": (
        "forks.command:drop_command",
        "Remove a fork and all that runs in it. Asks first, unless -y is given.",
    ),
    "image": ("image", "List, pull, build, import, check and remove the images that machines are made from."),
    "host-bridge": (
        "host_bridge.command",
        "Put this machine's own NIC into a bridge without cutting off anyone who is logged in.",
    ),
    "doctor": ("doctor", "Check that this machine can run a lab, and show how to fix what would prevent it."),
    "list": ("list", "List the labs on this machine's hypervisors."),
    "validate": ("validate", "Check the lab file without touching anything."),
    "schema": ("schema", "Print the JSON Schema of the lab file."),
    "schedule": ("schedule", "Check the lab for drift regularly with systemd or cron."),
    "fleet": ("fleet.command", "Let workers on other machines carry out the work on hosts."),
    "mcp": (
        "mcp.command",
        "Serve the lab to a program that speaks the Model Context Protocol, until it closes the input.",
    ),
    "completion": ("completion", "Print the shell code that completes labrun's command line."),
}
