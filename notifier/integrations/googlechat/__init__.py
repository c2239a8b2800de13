"""Google Chat: webhooks of spaces."""
