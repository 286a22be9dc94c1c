"""``labrun mcp``: the lab for programs that speak the Model Context Protocol."""
