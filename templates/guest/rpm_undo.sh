# Remove newly installed packages. Values: on guard live. Needs rpm_list.
[ "$on" = live ] && [ -e "$guard/rpms" ] || exit 0
rpm_list >"$live/rpms"
# shellcheck disable=SC2046 # they are words
set -- $(comm -13 "$guard/rpms" "$live/rpms")
[ $# -eq 0 ] || timeout 60 rpm --erase --nodeps "$@"
