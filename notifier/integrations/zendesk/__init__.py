"""Zendesk: one ticket for each failing operation."""
