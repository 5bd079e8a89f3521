"""Their handlers."""
