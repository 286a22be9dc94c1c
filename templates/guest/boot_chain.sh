# How a machine comes up before its services do: boot loader, kernel, early userland, drivers of its NICs. A container has
# none of it. Sourced after outside.sh, only if the change is wide. Value: guard.

has_own_boot() { [ -d /boot ] && [ ! -e /run/systemd/container ] && ! tr '\0' '\n' </proc/1/environ | grep -q '^container='; } 2>/dev/null

# Print what the boot loader starts by itself: `loader FILE`, `kernel PATH there|gone`, `initrd PATH there|gone ID`, `words ...`,
# `root NAME there|gone`. Paths and names with variables of the boot loader are left out.
chain_state() {
has_own_boot || return 0
for chain_loader in /boot/grub/grub.cfg /boot/grub2/grub.cfg; do [ ! -s "$chain_loader" ] || break; done
[ -s "$chain_loader" ] || return 0
echo "loader $chain_loader"
# Fedora's kind has a file for each kernel.
if grep -q '^[[:space:]]*blscfg' "$chain_loader"; then
chain_loader=$(printf '%s\n' /boot/loader/entries/*.conf | sort -V | tail -n 1)
fi
awk '
$1 ~ /^linux(16|efi)?$/ && !kernel { kernel = $2; print "kernel", $2; if (NF > 2) { $1 = $2 = ""; print "words" $0 } }
$1 ~ /^initrd(16|efi)?$/ && !initrd { initrd = $2; print "initrd", $2 }
$1 == "options" && !options { options = 1; $1 = ""; print "words" $0 }' "$chain_loader" | while read -r chain_kind chain_path chain_rest; do
case $chain_kind,$chain_path in
words,*)
echo "words $chain_path $chain_rest"
for chain_word in $chain_path $chain_rest; do
case $chain_word in *\$*) ;; root=*)
chain_word=${chain_word#root=} chain_there=gone
case $chain_word in
LABEL=* | UUID=* | PARTUUID=* | PARTLABEL=*) [ -z "$(blkid -c /dev/null -o device -t "$chain_word")" ] || chain_there=there;;
*) [ ! -b "$chain_word" ] || chain_there=there;;
esac
echo "root $chain_word $chain_there";;
esac
done;;
*\$*) ;;
*)
chain_file=$(chain_place "$chain_path")
if [ -n "$chain_file" ]; then echo "$chain_kind $chain_path there $(stat -c '%i,%s,%Y' "$chain_file")"
else echo "$chain_kind $chain_path gone"
fi;;
esac
done
} 2>/dev/null

# Print `NIC MODULE DEVICE DRIVER PATH ALIAS` for each NIC that is hardware, or made to look like it.
driver_state() {
has_own_boot || return 0
for driver_nic in /sys/class/net/*; do
[ -e "$driver_nic/device/driver/module" ] || continue
driver_path=$(readlink -f "$driver_nic/device") driver_alias=
read -r driver_alias <"$driver_nic/device/modalias"
echo "${driver_nic##*/} $(basename "$(readlink -f "$driver_nic/device/driver/module")") ${driver_path##*/}" \
"$(readlink -f "$driver_nic/device/driver") $driver_path $driver_alias"
done
} 2>/dev/null

# Print the file that a path of the boot loader means: a path is that on its own file system.
chain_place() { for place_file in "$1" "/boot$1"; do [ ! -s "$place_file" ] || { readlink -f "$place_file"; return; }; done; }

# Copy what lies in /boot, here. Large files only get a second name until the change is confirmed, which helps where they are
# replaced rather than written to; but of what the boot loader starts there is a copy of its own, if there is room.
copy_boot() {
rm -rf .labrun-tree
mkdir .labrun-tree
cp -al "$@" .labrun-tree/ || :
find "$@" -type f -size -513k -print0 | xargs -0 -r cp -a --parents --remove-destination -t .labrun-tree || :
[ -s "$guard/chain" ] || return 0
boot_here=$(pwd -P)
sed -n 's/^\(kernel\|initrd\) \(.*\) there .*/\2/p' "$guard/chain" | while IFS= read -r boot_path; do
boot_file=$(chain_place "$boot_path")
case $boot_file in "$boot_here"/*) boot_file=${boot_file#"$boot_here"/};; *) continue;; esac
boot_size=$(stat -c %s "$boot_file") boot_room=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ "$boot_room" -gt $((boot_size / 512 + 65536)) ] || continue
{ cp -a --reflink=auto "$boot_file" .labrun-tree/.labrun-new && mv -f .labrun-tree/.labrun-new ".labrun-tree/$boot_file"; } || rm -f .labrun-tree/.labrun-new
done
} 2>/dev/null

# The file systems of disks that can be written to.
writable_state() { awk '$1 ~ /^\// && $4 ~ /^rw(,|$)/ { print $2 }' /proc/self/mounts; }

# The kernel may have made them read-only, all at once: then nothing can be restored.
put_back_writable() {
[ -s "$guard/writable" ] || return 0
while IFS= read -r writable_place; do
! awk -v place="$writable_place" '$2 == place { ro = $4 ~ /^ro(,|$)/ } END { exit !ro }' /proc/self/mounts ||
mount -o remount,rw "$(printf '%b' "$writable_place")"
done <"$guard/writable"
} 2>/dev/null

# A NIC that is gone may have lost its driver, or its place on the bus.
put_back_drivers() {
[ -s "$guard/drivers" ] || return 0
while read -r drivers_nic drivers_module drivers_device drivers_driver drivers_path drivers_rest; do
[ ! -e "/sys/class/net/$drivers_nic" ] || continue
[ -e "$drivers_path" ] || [ ! -e /sys/bus/pci/rescan ] || echo 1 >/sys/bus/pci/rescan
[ -e "$drivers_driver" ] || timeout 20 modprobe "$drivers_module"
[ ! -e "$drivers_path" ] || [ -e "$drivers_path/driver" ] || echo "$drivers_device" >"$drivers_driver/bind"
drivers_round=0
while [ ! -e "/sys/class/net/$drivers_nic" ] && [ $drivers_round -lt 25 ]; do drivers_round=$((drivers_round + 1)); sleep 0.2; done
done <"$guard/drivers"
} 2>/dev/null

# Debian's links to the newest kernel and its early userland lie outside /boot.
root_links() {
has_own_boot || return 0
for links_each in /vmlinuz /initrd.img; do [ ! -L "$links_each" ] || echo "$links_each $(readlink "$links_each")"; done
}

put_back_links() {
[ -s "$guard/root-links" ] || return 0
while read -r links_path links_target; do
[ "$(readlink "$links_path")" = "$links_target" ] || ln -sfn "$links_target" "$links_path"
done <"$guard/root-links"
}

# The root file system has the name again that the boot loader looks for.
put_back_label() {
label_name=$(sed -n 's/^root LABEL=\(.*\) there$/\1/p' "$guard/chain")
[ -n "$label_name" ] && [ -z "$(blkid -c /dev/null -o device -t "LABEL=$label_name")" ] || return 0
e2label "$(findmnt -n -o SOURCE /)" "$label_name"
} >/dev/null 2>&1

# Print what the boot loader would no longer find, one line each.
differences_chain() {
[ -s "$guard/chain" ] || return 0
chain_state >"$live/chain"
grep ' there' "$guard/chain" | while read -r differ_kind differ_name differ_rest; do
grep -Fq "$differ_kind $differ_name there" "$live/chain" || echo "the next boot would not find its $differ_kind $differ_name"
done
}

# Devices that the rules of udev have been applied to once more, as the change would have them, and now as before.
put_back_udev() {
[ -e "$guard/plugged" ] && [ ! -e "$live/done-udev" ] || return 0
true >"$live/done-udev"
udevadm control --reload
timeout 30 udevadm trigger --settle --action=add --subsystem-match=net
} >/dev/null 2>&1
