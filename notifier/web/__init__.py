"""What this program serves over HTTP: the page, the API, metrics, and the requests of chats."""
