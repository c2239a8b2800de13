"""Email through a mail submission server."""
