"""`labrun host-bridge`: the command, and the course of a change."""
