"""One job type."""
