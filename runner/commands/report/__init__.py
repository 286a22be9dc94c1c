"""`labrun report`: one page with all results."""
