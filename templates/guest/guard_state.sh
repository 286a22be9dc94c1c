# What stands of a guard: without one this starts no process. Values: guard. Needs frames.
if [ -d "$guard" ]; then
for f in armed changed confirmed undoing undone; do [ ! -e "$guard/$f" ] || frame guard $f; done
read -r up rest </proc/uptime; frame guard-uptime "${up%.*}"
read -r boot </proc/sys/kernel/random/boot_id; frame guard-boot "$boot"
fi
