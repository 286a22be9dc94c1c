# Refuse a second fault; find NICs by their MACs. Values: planted. Defines: device. Needs fault_state.
[ ! -e "$d"/fault.undo ] || exit "$planted"
device() {
for each in /sys/class/net/*/address; do
read -r mac <"$each" && [ "$mac" = "$1" ] && each=${each%/address} && echo "${each##*/}" && return 0
done
return 1
}
