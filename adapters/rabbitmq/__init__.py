"""RabbitMQ 3.10 to 4.x: quorum queues, confirmed publishes in windows, coalesced acks, delays by a ladder of queues."""

from adapters.rabbitmq.broker import RabbitMQ

__all__ = ["RabbitMQ"]
