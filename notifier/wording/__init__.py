"""The text of notifications, in English and in Chinese."""
