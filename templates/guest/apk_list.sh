# What apk has installed, one line each, and how to take some of it away, for a guard. Defines: package_list
# remove_packages.
package_list() { apk info --quiet | sort; }
# Names that nobody asked for by themselves go with the last that needs them.
remove_packages() { timeout 60 apk del --quiet --no-progress "$@"; }
