"""Discord: webhooks, and bots."""
