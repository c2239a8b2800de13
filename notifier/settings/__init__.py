"""The base class and the types of all settings, and their errors in plain words."""
