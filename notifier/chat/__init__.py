"""Queries and actions from a chat, whichever chat it is: requests in, replies out."""
