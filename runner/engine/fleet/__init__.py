"""The machines that work for this labrun: who they are, what is installed there, what runs."""
