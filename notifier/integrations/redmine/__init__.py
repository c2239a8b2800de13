"""Redmine: issues."""
