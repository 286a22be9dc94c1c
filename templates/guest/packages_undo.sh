# Remove newly installed packages. Values: on guard live. Needs package_list and remove_packages.
# An empty list is one that could not be made: by it, everything would be new.
[ "$on" = live ] && [ -s "$guard/listed" ] || exit 0
package_list >"$live/listed"
# Without comm(1), which busybox need not have.
# shellcheck disable=SC2046 # they are words
set -- $(grep -Fvx -f "$guard/listed" "$live/listed")
[ $# -eq 0 ] || remove_packages "$@"
