"""`labrun lesson`: a series of faults to find and mend, with hints and a score."""
