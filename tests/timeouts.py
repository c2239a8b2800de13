"""The timeout of tests."""

HANG_TIMEOUT = 300.0
"""Time after which a test counts as hung, in seconds. No passing test waits for it, even on a loaded machine. It fits
several times into the time limit of continuous integration."""
