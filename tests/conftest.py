"""Fixtures that every test may use: private servers, one a session."""

pytest_plugins = ("tests.servers.postgres", "tests.servers.rabbitmq", "tests.servers.redis")
