"""What all commands know about a host: how its ruleset reads, and in which sections its rows appear."""
