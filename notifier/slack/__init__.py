"""What all that speaks to Slack shares: the pieces of a message, and the calls of the Web API."""
