"""labrun measured beside what it is measured against: scripts with virsh and OpenSSH for the same work."""
