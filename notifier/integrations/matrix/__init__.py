"""Matrix: rooms that are not encrypted, on any homeserver."""
