# What a boot does before its services start, tried where nobody sees it. Defines: try_mounts try_drivers try_images try_locks try_names
# try_words.
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

# Tell whether a module would refuse one of these options: the kernel reads each by its type, and goes by no module that it
# gave such a value. Options that a module does not know are passed over.
refuses_options() {
refuses_file=$1; shift
{ modinfo -F parmtype "$refuses_file"; echo; printf '%s\n' "$@"; } | awk '
/^$/ { given = 1; next }
!given { name = $0; sub(/:.*/, "", name); gsub(/-/, "_", name); type[name] = substr($0, length(name) + 2); next }
{
    name = value = $0; sub(/=.*/, "", name); gsub(/-/, "_", name)
    if (!sub(/^[^=]*=/, "", value) || !(name in type)) next
    gsub(/"/, "", value); kind = type[name]; count = 1
    if (sub(/^array of /, "", kind)) count = split(value, each, ","); else each[1] = value
    for (i = 1; i <= count; i++) {
        if (kind ~ /^(bool|invbool|bint)$/) { if (each[i] !~ /^([yYtTnNfF01]|[oO][nNfF])/) bad = 1 }
        else if (kind ~ /^(byte|short|ushort|int|uint|long|ulong|ullong|hexint)$/ && each[i] !~ /^[-+]?(0[xX][0-9a-fA-F]+|[0-9]+)$/) bad = 1
    }
}
END { exit !bad }'
} 2>/dev/null

# Print `ok` if this configuration of modprobe, in the folders given, loads the module for the device.
loads_driver() {
loads_alias=$1 loads_module=$(echo "$2" | tr _ -); shift 2
modprobe "$@" --show-depends --use-blacklist "$loads_alias" 2>/dev/null | while read -r loads_does loads_file loads_options; do
# shellcheck disable=SC2086 # they are words
if [ "$loads_does" = insmod ] && [ -n "$loads_options" ] && refuses_options "$loads_file" $loads_options; then loads_does=refused; fi
echo "$loads_does $loads_file $loads_options"
done | tr _ - | awk -v module="$loads_module" '
$1 == "refused" || ($1 == "install" && $0 !~ /modprobe/) { bad = 1 }
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

# Print the modules that the root file system needs, its disk's and its own, each as a file names it.
root_modules() {
findmnt -n -o FSTYPE / | tr _ -
modules_at=$(readlink -f "/sys/dev/block/$(awk '$5 == "/" { number = $3 } END { print number }' /proc/self/mountinfo)")
while [ -n "${modules_at#/sys/devices}" ] && [ "$modules_at" != "${modules_at%/*}" ]; do
[ ! -e "$modules_at/driver/module" ] || basename "$(readlink -f "$modules_at/driver/module")" | tr _ -
modules_at=${modules_at%/*}
done
} 2>/dev/null

# Print the first bytes of a file that tell what it is, in hexadecimal.
first_bytes() { dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | od -An -tx1 | tr -d ' \n'; }

# List what an early userland has.
initrd_files() { timeout 60 lsinitramfs "$1" || timeout 60 lsinitrd "$1"; } 2>/dev/null

# Print why an early userland starts nothing. Arguments: file, its size, its former size, 0 for none. Lists that cannot be read
# count only where it has lost more than half: the programs that list do not know every kind.
initrd_fault() {
case $(first_bytes "$1" 0 6) in
30373037* | 1f8b* | 425a68* | fd377a585a00 | 5d0000* | 894c5a4f* | 02214c18* | 04224d18* | 28b52ffd*) ;;
*) echo "is not one"; return;;
esac
fault_list=$(initrd_files "$1") || fault_list=
if [ -z "$fault_list" ]; then [ $(($2 * 2)) -ge "$3" ] || echo "has lost more than half and cannot be read"; return; fi
printf '%s\n' "$fault_list" | grep -qE '(^|[ /])init( ->|$)' || { echo "has no init"; return; }
root_modules | while IFS= read -r fault_module; do
modinfo -F filename "$fault_module" 2>/dev/null | grep -q '[.]ko' || continue
printf '%s\n' "$fault_list" | tr _ - | grep -q "/${fault_module}[.]ko" || { echo "has no $fault_module, which the root file system needs"; return; }
done
}

# Print `KIND NAME REASON` for a kernel and an early userland that are others than before and start nothing.
try_images() {
chain_state | while read -r images_kind images_name images_there images_id; do
case $images_kind,$images_there in kernel,there | initrd,there) ;; *) continue;; esac
! grep -Fxq "$images_kind $images_name $images_there $images_id" "$guard/chain" || continue
images_file=$(chain_place "$images_name") images_size=${images_id#*,}
images_was=$(sed -n "s/^$images_kind .* there [0-9]*,\([0-9]*\),.*/\1/p" "$guard/chain")
case $images_kind in
initrd) images_why=$(initrd_fault "$images_file" "${images_size%%,*}" "${images_was:-0}");;
# Of Linux on x86, or for EFI, where it is an EFI program, or compressed.
*) case $(uname -m),$(first_bytes "$images_file" 514 4),$(first_bytes "$images_file" 0 2) in
x86_64,48647253,* | [!x]*) images_why=;; *) images_why="is not one";; esac
[ $((${images_size%%,*} * 2)) -ge "${images_was:-0}" ] || images_why="has lost more than half"
esac
[ -z "$images_why" ] || echo "$images_kind $images_name $images_why"
done
}

# Print `NIC MODULE FILE` for each NIC whose driver a boot would load only after a changed file has forbidden to load any.
try_locks() {
[ -s "$guard/drivers" ] || return 0
for locks_file in /etc/sysctl.d/*.conf /etc/sysctl.conf; do
if [ ! -e "$locks_file" ] || cmp -s "/etc/.labrun-tree/${locks_file#/etc/}" "$locks_file"; then continue; fi
grep -Eq '^[[:space:]]*-?kernel[./]modules_disabled[[:space:]]*=[[:space:]]*0*[1-9]' "$locks_file" || continue
# What the early userland has is loaded there.
locks_initrd=$(chain_place "$(sed -n 's/^initrd \(.*\) there .*/\1/p' "$guard/chain")")
locks_list=$(initrd_files "$locks_initrd" | tr _ -)
while read -r locks_nic locks_module locks_rest; do
printf '%s\n' "$locks_list" | grep -q "/$(echo "$locks_module" | tr _ -)[.]ko" || echo "$locks_nic $locks_module $locks_file"
done <"$guard/drivers"
break
done
}

# Print `NIC NAME` for each NIC that udev would call otherwise if it came now: while it is up it keeps its name.
try_names() {
[ -s "$guard/drivers" ] || return 0
while read -r names_nic names_rest; do
names_other=$(timeout 30 udevadm test --action=add "/sys/class/net/$names_nic" 2>&1 | sed -n "s/.* already up, .*rename to '\([^']*\)'.*/\1/p" | tail -n 1)
[ -z "$names_other" ] || echo "$names_nic $names_other"
done <"$guard/drivers"
} 2>/dev/null

# Print `WORD MODULE` for each new word for the kernel that keeps it from loading what a NIC or the root file system needs.
try_words() {
chain_state | sed -n 's/^words //p' | tr ' ' '\n' | grep -E '^(modprobe[.]blacklist|module_blacklist)=' | while IFS= read -r words_each; do
! sed -n 's/^words //p' "$guard/chain" | tr ' ' '\n' | grep -Fxq "$words_each" || continue
{ awk '{ print $2 }' "$guard/drivers"; root_modules; } | sort -u | while IFS= read -r words_module; do
echo "$words_module"
# The first kind only counts for modules that are loaded for a device.
case $words_each in module*) modprobe --show-depends "$words_module" | sed -n 's,^insmod .*/\([^/]*\)[.]ko.*,\1,p';; esac
done | tr _ - | sort -u | while IFS= read -r words_module; do
case ,$(echo "${words_each#*=}" | tr _ -), in *",$words_module,"*) echo "$words_each $words_module";; esac
done
done
} 2>/dev/null
