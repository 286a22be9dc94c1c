"""Faults to learn from: what `labrun break` plants and `labrun mend` undoes."""
