"""The contract for authors of channels: `settings` and `base`; `kinds` finds what is installed."""
