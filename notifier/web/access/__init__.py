"""Who may see and do what on the page and in the API."""
