"""Telegram: bots in groups, channels and chats with people."""
