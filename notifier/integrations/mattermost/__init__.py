"""Mattermost, and Rocket.Chat, which takes the same kind of webhook."""
