"""Who opens the page or calls the API, and what they may do."""
