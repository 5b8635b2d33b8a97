"""How many workers a load needs, and what they cost: no torch, no network."""
