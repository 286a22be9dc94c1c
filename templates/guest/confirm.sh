# Make the change permanent, unless it was decided already that it goes back. Values: run guard live unit link.
read -r holder <"$guard/owner"
[ "$holder" = "$run" ]
# Only one of two makes this file.
set -C
printf 'keep\n' 2>/dev/null >"$live/decided"
set +C
mv "$guard/changed" "$guard/confirmed" || { echo undo >"$live/decided"; exit 1; }
sync "$guard"
