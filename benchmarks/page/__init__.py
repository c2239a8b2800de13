"""How fast the page answers over a large history."""
