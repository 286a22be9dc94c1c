"""What labrun renders: libvirt XML, cloud-init data, sshd drop-ins, image recipes."""
