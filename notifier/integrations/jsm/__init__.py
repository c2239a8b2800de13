"""Jira Service Management: alerts of its Operations, through an API integration."""
