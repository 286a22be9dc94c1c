"""``labrun fleet``: the machines whose workers carry out what this labrun decides."""
