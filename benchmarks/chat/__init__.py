"""Chats that answer slash commands: see commands.py."""
