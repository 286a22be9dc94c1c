"""The lab model and everything it implies, independent of SSH and libvirt."""
