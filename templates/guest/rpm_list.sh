# The installed packages, one line each, for a guard: it has no list of rpm's by itself, as it has of dpkg's.
rpm_list() { rpm --query --all --queryformat '%{NAME}.%{ARCH}\n' | sort; }
