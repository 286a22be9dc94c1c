"""Where hosts answer now, the Nornir inventory, and its exports."""
