# Start the libvirtd of a fork in the namespaces that this shell was started in: mounts and network are new, nothing
# is shared with the outside any more. $own is the fork's folder, $group the name of its control groups,
# $images the folder of images.
set -eu
ip link set lo up

# A new sysfs shows this network's devices, and has no control groups in it.
mkdir -p "$own/cgroup"
mount --rbind /sys/fs/cgroup "$own/cgroup"
umount -R -l /sys
mount -t sysfs sysfs /sys
mount --rbind "$own/cgroup" /sys/fs/cgroup
umount -R -l "$own/cgroup"

# The lab's own roots stay mounted where they belong; a second mount of them here would keep them busy.
findmnt -rno TARGET | grep '^/var/lib/labrun/labs/' | while read -r root; do umount -l "$root"; done

mkdir -p "$own/etc/lxc" "$own/etc/qemu/networks" "$own/etc/storage" "$own/run/lock"
cp -a /etc/libvirt/*.conf /etc/libvirt/nwfilter "$own/etc/" 2>/dev/null || true
for shared in dbus systemd udev; do
    [ -e "/run/$shared" ] || continue
    mkdir -p "$own/run/$shared"
    mount --rbind "/run/$shared" "$own/run/$shared"
done
for pair in labs:/var/lib/labrun/labs pools:/var/lib/labrun/pools snapshots:/var/lib/labrun/snapshots \
    lib:/var/lib/libvirt etc:/etc/libvirt log:/var/log/libvirt run:/run; do
    mkdir -p "$own/${pair%%:*}" "${pair#*:}"
    mount --rbind "$own/${pair%%:*}" "${pair#*:}"
done
# Who uses an image outside cannot be seen here, so nothing is removed here.
mkdir -p "$images"
mount --bind "$images" "$images"
mount -o remount,bind,ro "$images"
stat -L -c %i /proc/self/ns/net >/run/labrun-fork.net

# Where bridges hand their frames to iptables, libvirt's masquerading rewrites what guests send each other.
for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$file" ] || echo 0 >"$file"; done

# The containers have the names of the lab's, and their inits make control groups by that name. In a cgroup namespace
# below groups of the fork's own these are others.
while IFS=: read -r number controllers path; do
    case ,$controllers, in *,cpu,*|*,cpuset,*|*,cpuacct,*|*,memory,*|*,devices,*|*,freezer,*|*,blkio,*) continue ;; esac
    if [ -n "$controllers" ]; then mount -t cgroup -o "$controllers" cgroup "$own/cgroup" 2>/dev/null || continue
    elif [ "$number" = 0 ]; then mount -t cgroup2 cgroup "$own/cgroup" 2>/dev/null || continue
    else continue
    fi
    mkdir -p "$own/cgroup/$group"
    echo $$ >"$own/cgroup/$group/cgroup.procs" || true
    umount "$own/cgroup"
done </proc/self/cgroup
exec unshare --cgroup libvirtd -d
