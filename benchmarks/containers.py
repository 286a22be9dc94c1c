"""The floor for `up`: a script that creates and starts the same containers with virsh and waits with ssh."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.labs import BenchLab
from benchmarks.openssh import ssh_config
from labrun.hypervisor import in_daemon_namespace
from labrun.key_pairs import make_host_key
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.lxc_by_hand import domain_xml
from labrun.tasks.provision.networks import network_spec
from labrun.tasks.provision.overlay import Overlay
from labrun.tasks.provision.specs import machine_spec, seeded

__all__ = ["WAIT", "up_command", "write_host_list", "write_up_files"]

# The number of containers that start at once, the same as in labrun.
_STARTS = 8

WAIT = """
tries=0
until ssh -F ssh_config -o ConnectTimeout=1 "$host" true 2>"$host.err"; do
    tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 1
    sleep 0.1
done
"""
"""Shell text that waits until ``$host`` accepts a login."""

_UP = r"""
set -eu
cd "$1"
virsh -q -c lxc:///system "$(cat networks)" >/dev/null
pids=()
while read -r host; do
    rm -f "started-$host"; mkfifo "started-$host"
    (
        read -r _ <"started-$host"
        WAIT
    ) &
    pids+=($!)
done <hosts
xargs -P STARTS -I HOST sh start HOST <hosts
for pid in "${pids[@]}"; do wait "$pid"; done
"""

# Per host, the lines that create and start it; its seed has been prepared.
_START = r"""
set -eu
host=$1
. "./$host.place"
mkdir -p "$place/root" "$place/work"
cp -a "upper-$host" "$place/upper"
cp "$host.lower" "$place/complete"
options="lowerdir=$(cat "$host.lower"),upperdir=$place/upper,workdir=$place/work"
MOUNT -t overlay overlay -o "$options" "$place/root"
virsh -q -c lxc:///system "define $PWD/$host.xml; autostart $domain; start $domain" >/dev/null
echo >"started-$host"
"""


def up_command(lab: BenchLab) -> list[str]:
    """Return the command line of the script; its files come from :func:`write_up_files`."""
    return [
        "bash",
        "-c",
        _UP.replace("WAIT", WAIT).replace("STARTS", str(_STARTS)),
        "up-by-hand",
        str(_directory(lab)),
    ]


def _directory(lab: BenchLab) -> Path:
    return lab.directory / "by-hand"


def write_up_files(lab: BenchLab) -> None:
    """Write everything the script needs, including keys and seeds.

    The script's objects carry the lab's tag and use labrun's paths, so that `down` removes them.
    """
    directory = _directory(lab)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    lab.state.ensure_keys()
    _write_networks(lab, directory)
    keys = {name: _write_host(lab, name, directory) for name in lab.lab.hosts}
    lab.state.remember_host_keys({name: ((), key) for name, key in keys.items()})
    write_host_list(lab, directory)
    mount = " ".join([*in_daemon_namespace(lab.uri), "mount"])
    (directory / "start").write_text(_START.replace("MOUNT", mount), encoding="utf-8")


def write_host_list(lab: BenchLab, directory: Path) -> None:
    """Write the hosts' names and addresses for the script's loops."""
    (directory / "hosts").write_text("".join(f"{name}\n" for name in lab.lab.hosts), encoding="utf-8")
    (directory / "ssh_config").write_text(ssh_config(lab), encoding="utf-8")


def _write_networks(lab: BenchLab, directory: Path) -> None:
    commands = []
    for network in lab.lab.networks.values():
        spec = network_spec(lab.lab, network, lab.uri)
        path = directory / f"network-{network.name}.xml"
        path.write_text(spec.xml, encoding="utf-8")
        name = spec.full_name
        commands.append(f"net-define {path}; net-autostart {name}; net-start {name}")
    (directory / "networks").write_text("; ".join(commands), encoding="utf-8")


def _write_host(lab: BenchLab, name: str, directory: Path) -> str:
    """Write the definition and the seed of one host and return its public host key."""
    host = lab.lab.hosts[name]
    host_key = make_host_key(name)
    bare = machine_spec(lab.lab, host)
    spec = seeded(
        bare,
        lab.lab,
        instance=f"bench-{name}",
        host_key=host_key,
        login_keys=(lab.state.public_key,),
        password=lab.state.console_password(name),
    )
    overlay = Overlay.of(spec.lab, spec.host, lab.uri)
    seed = directory / f"upper-{name}" / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True, mode=0o700)
    (seed / "meta-data").write_text(spec.seed.meta_data, encoding="utf-8")
    (seed / "user-data").write_text(spec.seed.user_data, encoding="utf-8")
    (seed / "network-config").write_text(spec.seed.network_config, encoding="utf-8")
    (directory / f"{name}.xml").write_text(domain_xml(spec, overlay.root), encoding="utf-8")
    (directory / f"{name}.lower").write_text(str(image_paths(spec.image).rootfs), encoding="utf-8")
    place = f"place={overlay.directory}\ndomain={spec.domain}\n"
    (directory / f"{name}.place").write_text(place, encoding="utf-8")
    return host_key.public
