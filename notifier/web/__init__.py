"""What this program serves over HTTP: a listener that no stranger can tie up."""
