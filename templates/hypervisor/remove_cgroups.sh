# Remove the control groups that containers' inits created, in a mount namespace of its own. Arguments: their names.
# The image's init creates one directory per container in each hierarchy that libvirt does not manage
# (templates/images). Some of those are not mounted anywhere, so each is mounted briefly.
set -u
scratch=$(mktemp -d) || exit 1
while IFS=: read -r number controllers path; do
if [ -n "$controllers" ]; then mount -t cgroup -o "$controllers" cgroup "$scratch" 2>/dev/null || continue
elif [ "$number" = 0 ]; then mount -t cgroup2 cgroup "$scratch" 2>/dev/null || continue
else continue
fi
for name; do
find "$scratch" -depth -type d -path "*/$name*" \( -name "$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null
done
umount "$scratch"
done </proc/self/cgroup
rmdir "$scratch"
