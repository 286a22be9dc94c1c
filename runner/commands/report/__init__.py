"""`labrun report`: one page with everything."""
