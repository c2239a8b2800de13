"""Every service that the library Apprise knows, as far as it goes: best effort."""
