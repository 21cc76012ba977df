"""How a publisher finds out what changed in its trees."""
