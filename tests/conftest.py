"""Fixtures that every test may use: private servers, one a session."""

pytest_plugins = ("tests.servers.postgres",)
