"""What is known of a host whoever asks: how its ruleset reads, which sections its rows stand in."""
