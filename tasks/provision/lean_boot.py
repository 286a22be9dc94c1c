"""What a downloaded image need not do at its first boot: cloud-init's modules, and a distribution's chores.

Images that labrun builds leave this out from the start. Into others only the seed reaches: the lists of
modules that cloud-init runs, and commands early in its network stage, before most services start.
"""

from __future__ import annotations

from labrun.json_values import JsonObject

__all__ = ["lean_boot"]

# Of the vendors' lists, the modules that have something to do for what labrun's seed or an image asks for.
# The others look for programs, mirrors, keys and services on the network, or print what nobody reads.
_INIT = (
    *("seed_random", "bootcmd", "write_files", "growpart", "resizefs", "disk_setup", "mounts"),
    *("set_hostname", "update_hostname", "update_etc_hosts", "ca_certs", "users_groups", "ssh"),
)
_CONFIG = ("set_passwords", "runcmd")
_FINAL = (
    "write_files_deferred",
    "scripts_per_once",
    "scripts_per_boot",
    "scripts_per_instance",
    "scripts_user",
)

# Chores of machines that live for years, and waits for a network that a lab may not have. It is no error if
# an image has none of a name.
_CHORES = (
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "man-db.timer",
        "motd-news.timer",
    ),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "fwupd-refresh.timer", "apport.service"),
    *("unattended-upgrades.service", "pollinate.service", "ubuntu-advantage.service", "ua-timer.timer"),
    *("dnf-makecache.timer", "mlocate-updatedb.timer", "plocate-updatedb.timer", "raid-check.timer"),
    *("kdump.service", "insights-client-boot.service", "NetworkManager-wait-online.service"),
)
# Masked for later boots, and taken out of this one, whose jobs are queued already.
_SILENCE = (
    "command -v systemctl >/dev/null || exit 0; "
    "systemctl mask {0} >/dev/null 2>&1; systemctl stop --no-block {0} >/dev/null 2>&1; exit 0"
)


def lean_boot() -> JsonObject:
    """Return the part of the user-data that spares a first boot what a lab does not need."""
    silence = _SILENCE.format(" ".join(_CHORES))
    return {
        "cloud_init_modules": list(_INIT),
        "cloud_config_modules": list(_CONFIG),
        "cloud_final_modules": list(_FINAL),
        "bootcmd": [["cloud-init-per", "once", "labrun-lean", "sh", "-c", silence]],
    }
