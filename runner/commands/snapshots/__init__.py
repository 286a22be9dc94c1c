"""`labrun snapshot`: keep the state of the whole lab, give it back, and compare with it."""
