"""Microsoft Teams: workflows that post to a channel when a webhook request arrives."""
