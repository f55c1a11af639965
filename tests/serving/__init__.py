"""`punchcard serve` and the other commands, as processes: what they leave behind, refuse, survive and print."""
