"""Access to a guest: SSH connections, channels, shells, deadlines."""
