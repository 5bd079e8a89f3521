"""Its handler."""
