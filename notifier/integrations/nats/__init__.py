"""NATS JetStream: each event is a message of a stream."""
