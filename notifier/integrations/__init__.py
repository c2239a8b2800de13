"""The services that the notifier delivers to and hears from: one folder or file each. They do not import each other."""
