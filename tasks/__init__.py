"""Nornir tasks: provision (libvirt), configure (over SSH) and collect (read-only)."""
