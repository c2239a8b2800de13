"""GitHub: one issue for each failing operation."""
