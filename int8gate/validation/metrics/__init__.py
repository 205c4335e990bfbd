"""The metrics by name, and what the larger ones are made of."""
