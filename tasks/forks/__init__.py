"""Forks of a lab: copies with a libvirtd of their own, in namespaces of their own."""
