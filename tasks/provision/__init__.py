"""libvirt tasks: networks, images, machines, containers and readiness."""
