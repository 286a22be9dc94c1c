"""The way into a guest: SSH connections, channels, shells, deadlines."""
