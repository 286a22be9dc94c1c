# Give an armed guard the list of the packages installed before. Values: guard. Needs rpm_list.
[ ! -d "$guard" ] || rpm_list >"$guard/rpms"
