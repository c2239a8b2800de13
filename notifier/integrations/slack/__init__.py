"""Slack: messages to it, and commands and clicks from it."""
