"""Tickets in Roundup."""
