"""Copies of a whole lab: what a snapshot keeps of a machine, and how the machine gets it back."""
