"""What labrun keeps as the lab file says: the one comparison, what was applied last, and the sections."""
