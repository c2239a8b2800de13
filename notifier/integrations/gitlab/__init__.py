"""GitLab: one issue for each failing operation."""
