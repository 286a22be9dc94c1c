"""How a lab file begins: from a template, or from what another tool has in its own file; pure."""
