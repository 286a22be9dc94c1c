# Install packages with apk in one transaction. Defines: install_packages.
# Another apk may hold the lock: wait for it.
install_packages() {
said=/run/labrun-packages
# What is unreachable counts if a package is missing.
updated=$(apk update --quiet --no-progress --wait 60 2>&1) || :
if apk add --quiet --no-progress --wait 60 "$@" >"$said" 2>&1; then return 0; fi
trouble=$(printf '%s\n' "$updated" | sed -n '/^\(ERROR\|WARNING\): /{s/^[A-Z]*: *//;p;q}')
sed -n 's/^ *\([^ ]*\) (no such package):.*$/\1/p' "$said" | while read -r name
do echo "$name: apk finds no such package${trouble:+ (apk update: $trouble)}"; done
echo "apk: $(sed -n '/^ERROR: /{s/^ERROR: *//;p;q}' "$said")"
return 1
}
