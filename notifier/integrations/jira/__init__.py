"""Jira: issues, in the cloud and on servers of one's own."""
