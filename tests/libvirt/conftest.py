"""What holds for tests with libvirt's own parts."""

from tests.leftovers import without_leftovers

__all__ = ["without_leftovers"]
