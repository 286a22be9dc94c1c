"""Host configuration: gather facts, plan, apply."""
