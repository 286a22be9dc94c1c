# Whether the mode can be set, and the policies that are installed. Values: enforce. Needs frames.
[ -w "$enforce" ] && frame selinux-writable
for f in /etc/selinux/*/policy/policy.*; do [ -e "$f" ] && frame "selinux-policy $f"; done
