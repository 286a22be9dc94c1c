"""`labrun run`: Nornir tasks of users over the lab's hosts."""
