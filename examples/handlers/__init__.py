"""The handlers: one file for each job type."""
