"""The contract for authors of channels: `base` says what a kind provides and how it is found."""
