"""The current addresses of hosts, the Nornir inventory, and its exports."""
