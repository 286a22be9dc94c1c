"""Faults for practice: `labrun break` plants them and `labrun mend` undoes them."""
