"""The only place that knows the concrete classes."""
