"""The database: the only queue, the only lock and the only memory."""
