"""Benchmarks of labrun against virsh and OpenSSH scripts that do the same work."""
