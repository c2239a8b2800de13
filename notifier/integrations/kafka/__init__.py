"""Kafka: each event is a record of a topic."""
