# Make the change permanent, unless its rollback was already decided. Values: run guard live unit link.
read -r holder <"$guard/owner"
[ "$holder" = "$run" ]
# Only one of the two can create this file.
set -C
printf 'keep\n' 2>&- >"$live/decided"
set +C
mv "$guard/changed" "$guard/confirmed" || { echo undo >"$live/decided"; exit 1; }
sync "$guard"
