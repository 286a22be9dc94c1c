# What rpm has installed, one line each, and how to take some of it away, for a guard: it has no list of rpm's by
# itself, as it has of dpkg's. Defines: package_list remove_packages.
package_list() { rpm --query --all --queryformat '%{NAME}.%{ARCH}\n' | sort; }
remove_packages() { timeout 60 rpm --erase --nodeps "$@"; }
