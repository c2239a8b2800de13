"""Signed webhooks to any program."""
