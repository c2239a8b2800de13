"""RabbitMQ: each event is a message to an exchange."""
