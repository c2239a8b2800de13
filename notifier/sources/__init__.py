"""Task lists that can be read, one kind each: see `kinds`."""
