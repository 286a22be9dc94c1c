# What a boot does before its services start, tried where nobody sees it. Defines: try_mounts try_drivers.
# Value: guard.

# Print `PLACE: REASON` for each new line of fstab that has to be mounted and cannot be: findmnt tries neither options nor types.
try_mounts() {
unshare --mount --propagation private true 2>/dev/null || return 0
mounts_before=/etc/.labrun-tree/fstab
[ -e "$mounts_before" ] || mounts_before=/dev/null
grep -Fxv -f "$mounts_before" /etc/fstab | while read -r mounts_source mounts_place mounts_type mounts_options mounts_rest; do
case $mounts_source,$mounts_type in "#"* | ,* | *,swap | *,nfs* | *,cifs | *,smb* | *,fuse* | *,ceph | *,gluster* | *,9p) continue;; esac
# The root is there before this file is read.
[ "$mounts_place" != / ] || continue
case ",$mounts_options," in *,nofail,* | *,noauto,* | *,_netdev,* | *,x-systemd.automount,*) continue;; esac
mounts_source=$(printf '%b' "$mounts_source") mounts_at=/tmp
# A file is bound onto a file.
case ",$mounts_options," in *,bind,* | *,rbind,*) [ ! -f "$mounts_source" ] || mounts_at=/etc/hostname;; esac
mounts_said=$(timeout 20 unshare --mount --propagation private \
mount -n -t "${mounts_type:-auto}" -o "${mounts_options:-defaults}" "$mounts_source" "$mounts_at" 2>&1) || case $mounts_said in
# With other options than now, which can only be tried where it is mounted.
*already\ mounted*) ;;
*) echo "$mounts_place: $(printf '%s\n' "$mounts_said" | sed -n '1s/^mount: [^:]*: //p')";;
esac
done
}

# Print `ok` if this configuration of modprobe, in the folders given, loads the module for the device.
loads_driver() {
loads_alias=$1 loads_module=$(echo "$2" | tr _ -); shift 2
modprobe "$@" --show-depends --use-blacklist "$loads_alias" 2>/dev/null | tr _ - | awk -v module="$loads_module" '
$1 == "install" && $0 !~ /modprobe/ { bad = 1 }
$0 ~ "/" module "[.]ko" || ($1 == "builtin" && $2 == module) { found = 1 }
END { if (found && !bad) print "ok" }'
}

# Print `NIC MODULE` for each NIC whose driver a boot would no longer load.
try_drivers() {
[ -s "$guard/drivers" ] || return 0
while read -r try_nic try_module try_device try_driver try_path try_alias; do
[ -n "$try_alias" ] || continue
[ -z "$(loads_driver "$try_alias" "$try_module")" ] || continue
[ -z "$(loads_driver "$try_alias" "$try_module" -C /etc/.labrun-tree/modprobe.d -C /lib/modprobe.d)" ] || echo "$try_nic $try_module"
done <"$guard/drivers"
}
