"""Mattermost, and Rocket.Chat, which accepts the same webhooks."""
